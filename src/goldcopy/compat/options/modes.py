"""What the program is to do, and where."""

from goldcopy.compat.options.declare import Arg, Option, Release, action, flag, ignored, refused, valued

R = Release

OPTIONS: tuple[Option, ...] = (
    flag("backup", R.XB | R.MB, "Take a backup into --target-dir, or to standard output with --stream."),
    flag(
        "prepare",
        R.ALL,
        "Make the backup a clean data directory: increments are overlaid, then the server's own binary recovers it.",
    ),
    flag("copy-back", R.ALL, "Copy a prepared backup into the data directory, which must be empty."),
    flag("move-back", R.ALL, "Like --copy-back, but the files are moved, so the backup is used up."),
    flag("decompress", R.ALL, "Decompress every .zst, .lz4 and .qp file of the backup."),
    flag(
        "stats",
        R.XB24 | R.XB80,
        "Print what the tablespaces of a data directory or a backup hold, and how full the pages of each index are.",
    ),
    flag("print-param", R.XB | R.MB, "Print the server's settings that a restore needs, as an option file."),
    flag("version", R.ALL, "Print name and version, and stop.", short="v"),
    flag("help", R.ALL, "Print the options, and stop.", short="?"),
    flag("verbose", R.MB, "Say more of what happens.", short="V"),
    valued(
        "target-dir",
        R.XB | R.MB,
        "The backup's directory.",
        default="./xtrabackup_backupfiles/",
        tilde=True,
    ),
    flag(
        "export",
        R.ALL,
        "With --prepare: write .cfg (and .cfp) files, so that tables can be imported elsewhere.",
    ),
    flag(
        "apply-log-only",
        R.PXB,
        "With --prepare: overlay this increment only and leave recovery to the last pass. Nothing else"
        " is needed here: our increments need no replay between them.",
    ),
    flag(
        "apply-redo-only",
        R.XB84 | R.XB97,
        "The newer name of --apply-log-only.",
        alias_of="apply-log-only",
        exclusive=True,
    ),
    flag(
        "apply-log",
        R.IBX24 | R.MB,
        "innobackupex: prepare the backup in the directory given.",
        alias_of="prepare",
    ),
    flag(
        "redo-only",
        R.IBX24,
        "innobackupex: like --apply-log-only; with --apply-log.",
        alias_of="apply-log-only",
    ),
    flag("innobackupex", R.MB, "First on the command line: understand innobackupex's options instead."),
    flag(
        "no-timestamp",
        R.IBX24 | R.XB24,
        "innobackupex: write into the directory given, not into a time-stamped one in it. xtrabackup does so always.",
    ),
    ignored(valued("ibbackup", R.IBX24, "There is one program here; no other is started to copy pages.")),
    flag(
        "force-non-empty-directories",
        R.ALL,
        "Let --copy-back and --move-back write into a directory that is not empty. No file is ever overwritten.",
    ),
    ignored(
        flag(
            "create-ib-logfile",
            R.XB,
            "Dead in the original too: recovery by the server makes the redo log that the server wants.",
        )
    ),
    ignored(
        flag(
            "strict",
            R.XB8,
            "Unknown options are always refused; --skip-strict turns that into a warning.",
            default=True,
        )
    ),
    ignored(action("core-file", R.XB | R.MB, "A failure here ends with a message, never with a core file.")),
    flag(
        "mysqld-args",
        R.MB,
        "What follows are options of the server: those that we do not know are passed over in silence.",
    ),
    ignored(valued("debug-sync", R.XB, "A hook of XtraBackup's own tests.")),
    ignored(valued("debug", R.XB8, "A hook of debug builds of XtraBackup.", short="#", arg=Arg.OPTIONAL)),
    ignored(valued("dbug", R.MB, "A hook of debug builds of mariadb-backup.", short="#", arg=Arg.OPTIONAL)),
    ignored(valued("debug-sleep-before-unlock", R.PXB, "A hook of XtraBackup's own tests.")),
    refused(
        flag(
            "suspend-at-end",
            R.XB24,
            "Whoever asks for it waits for a file that would never come: innobackupex and xtrabackup are one"
            " program here. Leave the option out.",
        )
    ),
    refused(flag("suspend-at-start", R.XB24, "See --suspend-at-end: leave the option out.")),
)
