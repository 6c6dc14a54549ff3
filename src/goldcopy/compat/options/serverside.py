"""The server's own variables, which stand in its option files and are taken over from there."""

from goldcopy.compat.options.declare import (
    Arg,
    Option,
    Release,
    flag,
    ignored,
    number,
    of_server,
    one_of,
    size,
    valued,
)

R = Release
_BOTH = R.XB | R.MB
_RECOVERY = "Tunes the InnoDB inside the original; here the server's own binary recovers, with settings that fit."
_LOG_SIZE = "The restored server makes a redo log of its own size at its first start; --print-param shows this."
_CHECKSUMS = (
    "crc32",
    "strict_crc32",
    "innodb",
    "strict_innodb",
    "none",
    "strict_none",
    "full_crc32",
    "strict_full_crc32",
)

_ASKED = "The server that is backed up is asked for its own; --print-param shows this one."
_UNPRINTED = "The server that is backed up is asked for its own."
_LAYOUT = (
    valued("innodb-data-home-dir", _BOTH, "With --copy-back: where the system tablespace goes."),
    valued("innodb-data-file-path", _BOTH, "With --copy-back: files of the system tablespace, and where they go."),
    valued("innodb-log-group-home-dir", _BOTH, "With --copy-back: where the redo log goes."),
    valued("innodb-undo-directory", _BOTH, "With --copy-back: where undo tablespaces go."),
    valued("aria-log-dir-path", R.MB, "With --copy-back: where Aria's logs go."),
    valued("log-bin", _BOTH, "With --copy-back: base name of the binlogs.", arg=Arg.OPTIONAL, bare=""),
    valued("log-bin-index", R.XB8, "With --copy-back: index of the binlogs."),
)

_NO_EFFECT = (
    valued("log", R.XB | R.MB, "An old name of the general log; nothing to do with a backup.", arg=Arg.OPTIONAL),
    valued("innodb", R.XB | R.MB, "InnoDB is always there.", arg=Arg.OPTIONAL),
    valued("temp-tablespaces-dir", R.XB8, "Temporary tablespaces are never copied."),
    valued("innodb-directories", R.XB8, "The server that is backed up tells where its tablespaces lie."),
    valued("innodb-buffer-pool-filename", _BOTH, _ASKED),
    size("innodb-page-size", _BOTH, _ASKED, 16384, minimum=4096, maximum=65536, power_of_two=True),
    size("innodb-log-file-size", _BOTH, _LOG_SIZE, 48 << 20, minimum=1 << 20),
    number("innodb-log-files-in-group", R.XB | R.MB105, _LOG_SIZE, 2, minimum=1, maximum=100),
    number("innodb-undo-tablespaces", _BOTH, _ASKED, 0, maximum=127),
    size("innodb-log-block-size", R.XB, _ASKED, 512, minimum=512, maximum=65536),
    one_of("innodb-checksum-algorithm", _BOTH, _ASKED, _CHECKSUMS, default="crc32"),
    flag("innodb-file-per-table", _BOTH, "Files are found on disk."),
    number("innodb-compression-level", R.MB, _UNPRINTED, 6, maximum=9),
    flag("innodb-redo-log-encrypt", R.XB8, _UNPRINTED),
    flag("innodb-undo-log-encrypt", R.XB8, _UNPRINTED),
    flag("innodb-log-checksums", R.XB8, _UNPRINTED, default=True),
    one_of(
        "innodb-flush-method",
        _BOTH,
        "Data files are read past the file system's cache unless they are in it; --print-param shows this.",
        ("fsync", "O_DSYNC", "littlesync", "nosync", "O_DIRECT", "O_DIRECT_NO_FSYNC"),
    ),
    flag("innodb-adaptive-hash-index", _BOTH, _RECOVERY),
    number("innodb-autoextend-increment", _BOTH, _RECOVERY, 8),
    size("innodb-buffer-pool-size", R.XB, "Memory of recovery is set by --use-memory.", 8 << 20),
    flag("innodb-checksums", R.XB, "Checksums of pages are always verified.", default=True),
    valued("innodb-doublewrite", R.XB24 | R.MB, _RECOVERY, arg=Arg.OPTIONAL, bare="ON"),
    valued("innodb-doublewrite-file", R.XB24, _RECOVERY),
    flag(
        "innodb-fast-checksum",
        R.XB24,
        "A checksum of Percona Server 5.5; MySQL 5.6 and newer have none of that kind.",
    ),
    size("innodb-additional-mem-pool-size", R.XB24, _RECOVERY),
    valued("innodb-file-format", R.XB24, "Files tell their own format.", arg=Arg.OPTIONAL, bare="Barracuda"),
    flag("innodb-strict-mode", R.XB24, "Matters when tables are made; a backup makes none."),
    number("innodb-io-capacity", _BOTH, _RECOVERY, 200, arg=Arg.OPTIONAL, bare=200),
    number("innodb-file-io-threads", R.XB24 | R.MB, _RECOVERY, 4),
    number("innodb-read-io-threads", _BOTH, _RECOVERY, 4),
    number("innodb-write-io-threads", _BOTH, _RECOVERY, 4),
    number("innodb-flush-log-at-trx-commit", R.XB, _RECOVERY, 1, arg=Arg.OPTIONAL, bare=1),
    valued("innodb-log-arch-dir", R.XB24, "Archived redo logs of Percona Server 5.6 are not used."),
    valued("innodb-log-checksum-algorithm", R.XB24, "Redo blocks tell their own checksum."),
    size("innodb-log-buffer-size", _BOTH, _RECOVERY),
    valued("innodb-max-dirty-pages-pct", _BOTH, _RECOVERY),
    number("innodb-open-files", R.XB, _RECOVERY, 300),
    flag("innodb-use-native-aio", _BOTH, _RECOVERY),
    valued("innodb-linux-aio", R.MB118 | R.MB1011, _RECOVERY),
    flag("innodb-log-file-mmap", R.MB1011 | R.MB118, "The redo log is read with plain reads."),
    flag(
        "innodb-log-file-buffering",
        R.MB1011 | R.MB118,
        "The redo log is read through the file system's cache.",
        default=True,
    ),
    flag(
        "innodb-data-file-buffering",
        R.MB118,
        "Reads are kept from filling the file system's cache in any case.",
    ),
    flag("innodb-data-file-write-through", R.MB118, _RECOVERY),
    size(
        "innodb-log-write-ahead-size",
        R.MB1011 | R.MB118,
        _RECOVERY,
        512,
        minimum=512,
        maximum=4096,
        power_of_two=True,
    ),
)

OPTIONS: tuple[Option, ...] = tuple(of_server(option) for option in _LAYOUT) + tuple(
    of_server(ignored(option)) for option in _NO_EFFECT
)
