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
    flag("check-tables", R.XB84 | R.XB97, "With --prepare: have the server check every table afterwards."),
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
    valued(
        "transition-key",
        R.XB,
        "Pass phrase that protects tablespace keys inside the backup; asked for if left out.",
        arg=Arg.OPTIONAL,
        bare="",
        secret=True,
    ),
    flag("generate-transition-key", R.XB, "Protect tablespace keys with a new key that goes into the keyring."),
    flag("generate-new-master-key", R.XB, "With --copy-back: give the restored server a new master key."),
    valued("keyring-file-data", R.XB, "The keyring_file plugin's file.", arg=Arg.OPTIONAL),
    valued("component-keyring-config", R.XB8, "Configuration of the keyring component.", arg=Arg.OPTIONAL),
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
