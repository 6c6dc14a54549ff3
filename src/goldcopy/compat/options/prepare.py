"""Recovery: memory, keys, transactions."""

from goldcopy.compat.options.declare import (
    Arg,
    Option,
    Release,
    Variant,
    flag,
    ignored,
    number,
    of_server,
    refused,
    size,
    valued,
)

R = Release

OPTIONS: tuple[Option, ...] = (
    valued(
        "mysqld",
        R.ALL,
        "Ours: with --prepare, the server binary that recovers the backup; else the one on the PATH that fits it.",
    ),
    size("use-memory", R.ALL, "Memory of the server that recovers the backup.", 100 << 20, minimum=1 << 20),
    number(
        "use-free-memory-pct",
        R.XB8,
        "Percentage of free memory to use instead of --use-memory.",
        0,
        maximum=100,
    ),
    flag("estimate-memory", R.XB8, "Record in the backup how much memory its recovery wants."),
    flag(
        "rollback-prepared-trx",
        R.XB,
        "Roll XA PREPARED transactions back; else they are left for the server.",
    ),
    flag(
        "check-tables",
        R.XB84 | R.XB97,
        "With --prepare: afterwards the server checks every InnoDB table's indexes, read-only, and all pages' checksums"
        " are verified; damaged tables are named, and the exit status is 1.",
    ),
    of_server(
        number(
            "innodb-force-recovery",
            R.XB | R.MB,
            "With --prepare: recover with this setting. MariaDB's names take 0 and 1 only.",
            0,
            arg=Arg.REQUIRED,
            bare=1,
            maximum=6,
            variants=(Variant(R.MB, arg=Arg.OPTIONAL, maximum=1),),
        )
    ),
    refused(
        valued(
            "transition-key",
            R.XB,
            "Tablespace keys stay as the server encrypted them, by its master key: leave this out, and have the"
            " server's keyring at hand for --prepare and for the restored server.",
            arg=Arg.OPTIONAL,
            bare="",
            secret=True,
        )
    ),
    refused(
        flag(
            "generate-transition-key",
            R.XB,
            "See --transition-key: the server's own keyring is what is needed.",
        )
    ),
    refused(
        flag(
            "generate-new-master-key",
            R.XB,
            "Run ALTER INSTANCE ROTATE INNODB MASTER KEY on the restored server instead.",
        )
    ),
    valued("keyring-file-data", R.XB, "The keyring_file plugin's file.", arg=Arg.OPTIONAL),
    ignored(
        valued(
            "component-keyring-config",
            R.XB8,
            "The server's binary recovers, and reads the configuration of its keyring component from its own places.",
            arg=Arg.OPTIONAL,
        )
    ),
    valued(
        "component-keyring-file-config",
        R.XB8,
        "The older name of --component-keyring-config.",
        arg=Arg.OPTIONAL,
        alias_of="component-keyring-config",
    ),
    ignored(
        number(
            "reencrypt-for-server-id",
            R.XB24,
            "The restored server re-encrypts with --generate-new-master-key.",
        )
    ),
    ignored(
        valued(
            "xtrabackup-plugin-dir",
            R.XB,
            "Keyring plugins are loaded by the server's binary, from its own directory.",
        )
    ),
    ignored(valued("plugin-load", R.XB, "Plugins that recovery needs are taken from the backup's own record.")),
    of_server(valued("plugin-dir", R.MB, "With --prepare: where the server's binary finds its plugins.")),
)
