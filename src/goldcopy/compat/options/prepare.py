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
            "With --prepare: recover with this setting. MariaDB's names take 0 and 1 only. With --copy-back, 1 or more:"
            " only warn of files that were changed since.",
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
        "With --backup: the server's master keys travel in the backup, encrypted with this pass phrase; with --prepare"
        " and --copy-back --generate-new-master-key: take them from there. Without a value it is asked for.",
        arg=Arg.OPTIONAL,
        bare="",
        secret=True,
    ),
    ignored(
        flag(
            "generate-transition-key",
            R.XB,
            "No further key is put into the server's keyring: whoever has that keyring has the server's master keys,"
            " and --prepare needs no others.",
        )
    ),
    flag(
        "generate-new-master-key",
        R.XB,
        "With --copy-back and --move-back: have the restored server encrypted with a new master key, put into the"
        " keyring that --keyring-file-data or --component-keyring-config names.",
    ),
    valued(
        "keyring-file-data",
        R.XB,
        "A keyring file, of the plugin or the component: the source's with --prepare, the restored server's with"
        " --generate-new-master-key. It is read only; the recovering server is lent a copy.",
        arg=Arg.OPTIONAL,
        server=True,
    ),
    valued(
        "component-keyring-config",
        R.XB8,
        "A configuration of component_keyring_file, naming such a keyring file.",
        arg=Arg.OPTIONAL,
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
    valued(
        "xtrabackup-plugin-dir",
        R.XB,
        "Where the recovering server finds its keyring component or plugin, if not in its own directory.",
    ),
    ignored(valued("plugin-load", R.XB, "Plugins that recovery needs are taken from the backup's own record.")),
    of_server(valued("plugin-dir", R.MB, "With --prepare: where the server's binary finds its plugins.")),
)
