"""How long and how hard the live server is held."""

from goldcopy.compat.options.declare import (
    Arg,
    Option,
    Release,
    Variant,
    flag,
    ignored,
    number,
    one_of,
    valued,
)

R = Release
YEAR_S = 31536000
_TYPES = ("ALL", "UPDATE", "SELECT")

OPTIONS: tuple[Option, ...] = (
    flag(
        "no-lock",
        R.ALL,
        "Take no lock at all. Only right when all tables are InnoDB and no DDL runs meanwhile.",
    ),
    valued(
        "lock-ddl",
        R.XB,
        "ON: no DDL during the backup. OFF, REDUCED: DDL goes on while data files are copied; what it"
        " did is mended under a short lock at the end.",
        arg=Arg.OPTIONAL,
        default="ON",
        bare="ON",
    ),
    number(
        "lock-ddl-timeout",
        R.XB,
        "Seconds to wait for the lock against DDL.",
        YEAR_S,
        minimum=1,
        maximum=YEAR_S,
    ),
    ignored(
        flag(
            "lock-ddl-per-table",
            R.XB | R.MB,
            "DDL during the copy is followed and mended, so no table has to be locked against it one by one.",
        )
    ),
    number("backup-lock-timeout", R.XB8, "Seconds to wait for a backup lock.", YEAR_S, minimum=1, maximum=YEAR_S),
    number("backup-lock-retry-count", R.XB8, "Further tries after that.", 0, maximum=2**32 - 1),
    flag(
        "no-backup-locks",
        R.ALL,
        "Use FLUSH TABLES WITH READ LOCK where the server would have a lighter lock. No effect on MariaDB.",
    ),
    number(
        "ftwrl-wait-timeout",
        R.ALL,
        "Before the global lock, wait so many seconds for long queries to end.",
        0,
    ),
    number(
        "startup-wait-timeout",
        R.MB1011 | R.MB118,
        "The newer name of --ftwrl-wait-timeout.",
        0,
        alias_of="ftwrl-wait-timeout",
    ),
    number("ftwrl-wait-threshold", R.ALL, "A query is long after so many seconds.", 60),
    one_of("ftwrl-wait-query-type", R.ALL, "Which queries to wait for.", _TYPES, default="ALL"),
    number(
        "kill-long-queries-timeout",
        R.ALL,
        "Kill what keeps the lock from us for so many seconds; 0 = never.",
        0,
    ),
    one_of(
        "kill-long-query-type",
        R.ALL,
        "Which queries may be killed.",
        _TYPES,
        default="SELECT",
        variants=(Variant(R.IBX24, default="ALL"),),
    ),
    flag(
        "safe-slave-backup",
        R.ALL,
        "Stop the replica's SQL thread and wait until no temporary tables are open.",
    ),
    number("safe-slave-backup-timeout", R.ALL, "Seconds to wait for that.", 300),
)
