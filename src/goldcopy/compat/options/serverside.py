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

_LAYOUT = (
    valued("innodb-data-home-dir", _BOTH, "Where the system tablespace lies."),
    valued("innodb-data-file-path", _BOTH, "Files of the system tablespace and their sizes."),
    valued("innodb-log-group-home-dir", _BOTH, "Where the redo log lies."),
    valued("innodb-undo-directory", _BOTH, "Where undo tablespaces lie."),
    valued("innodb-directories", R.XB8, "Further directories of tablespaces."),
    valued("innodb-buffer-pool-filename", _BOTH, "Name of the buffer pool's dump, which is copied."),
    size(
        "innodb-page-size",
        _BOTH,
        "Page size; must agree with the files.",
        16384,
        minimum=4096,
        maximum=65536,
        power_of_two=True,
    ),
    size(
        "innodb-log-file-size",
        _BOTH,
        "Size of the redo log that --prepare leaves.",
        48 << 20,
        minimum=1 << 20,
    ),
    number(
        "innodb-log-files-in-group",
        R.XB | R.MB105,
        "Number of redo log files before MySQL 8.0.30.",
        2,
        minimum=1,
        maximum=100,
    ),
    number("innodb-undo-tablespaces", _BOTH, "Number of undo tablespaces.", 0, maximum=127),
    size("innodb-log-block-size", R.XB, "Redo block size; only 512 is known.", 512, minimum=512, maximum=65536),
    one_of(
        "innodb-checksum-algorithm",
        _BOTH,
        "Written into backup-my.cnf; pages tell their own.",
        _CHECKSUMS,
        default="crc32",
    ),
    flag("innodb-file-per-table", _BOTH, "Whether new tables get files of their own; files are found on disk."),
    number("innodb-compression-level", R.MB, "Written into backup-my.cnf.", 6, maximum=9),
    flag("innodb-redo-log-encrypt", R.XB8, "Written into backup-my.cnf."),
    flag("innodb-undo-log-encrypt", R.XB8, "Written into backup-my.cnf."),
    flag("innodb-log-checksums", R.XB8, "Written into backup-my.cnf.", default=True),
    valued("aria-log-dir-path", R.MB, "Where Aria's logs lie."),
    valued("log-bin", _BOTH, "Base name of the binlogs.", arg=Arg.OPTIONAL, bare=""),
    valued("log-bin-index", R.XB8, "Index of the binlogs."),
    one_of(
        "innodb-flush-method",
        _BOTH,
        "Whether data files are read past the file system's cache (O_DIRECT).",
        ("fsync", "O_DSYNC", "littlesync", "nosync", "O_DIRECT", "O_DIRECT_NO_FSYNC"),
    ),
)

_NO_EFFECT = (
    valued("log", R.XB | R.MB, "An old name of the general log; nothing to do with a backup.", arg=Arg.OPTIONAL),
    valued("innodb", R.XB | R.MB, "InnoDB is always there.", arg=Arg.OPTIONAL),
    valued("temp-tablespaces-dir", R.XB8, "Temporary tablespaces are never copied."),
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
