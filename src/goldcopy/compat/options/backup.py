"""What is copied, how fast, and against which base."""

from goldcopy.compat.options.declare import (
    Arg,
    Option,
    Release,
    flag,
    ignored,
    number,
    one_of,
    refused,
    size,
    valued,
)

R = Release

BASES = ("incremental-lsn", "incremental-basedir", "incremental-history-name", "incremental-history-uuid")
"""Each names the base of an increment."""

OPTIONS: tuple[Option, ...] = (
    number(
        "parallel",
        R.ALL,
        "Threads that copy, decompress and restore files.",
        1,
        minimum=1,
        maximum=2**31 - 1,
        signed=True,
    ),
    number("throttle", R.ALL, "At most so many reads of data files a second; 0 = no limit.", 0, signed=True),
    ignored(
        number("log-copy-interval", R.ALL, "The redo log is looked at as often as the server's pace asks for.", 1000)
    ),
    valued(
        "extra-lsndir",
        R.ALL,
        "Write a second copy of the checkpoints and info files into this directory.",
        tilde=True,
    ),
    ignored(
        size(
            "read-buffer-size",
            R.XB8,
            "Data files are read in pieces of 4 MiB, which disks and caches take best.",
            10 << 20,
            arg=Arg.OPTIONAL,
            bare=10 << 20,
            minimum=131072,
            maximum=2**32 - 1,
        )
    ),
    ignored(
        flag(
            "close-files",
            R.ALL,
            "Files are always opened for their own copy only, and closed after it.",
            said="xtrabackup: warning: close-files specified",
        )
    ),
    number(
        "open-files-limit",
        R.XB | R.MB,
        "Raise the limit of open files to this number.",
        0,
        server=True,
        maximum=2**32 - 1,
    ),
    ignored(
        flag(
            "rsync",
            R.ALL,
            "Files that are not InnoDB's are copied by our own threads, unchanged ones before the lock:"
            " what rsync was for.",
        )
    ),
    ignored(
        flag(
            "tables-compatibility-check",
            R.XB8,
            "Files of engines that we do not know are copied under the lock, and warned of, in any case.",
            default=True,
        )
    ),
    flag(
        "register-redo-log-consumer",
        R.XB8,
        "Have MySQL 8.0.30 or newer keep redo until it is copied: the server waits rather than overwrite it.",
    ),
    ignored(
        valued(
            "redo-log-arch-dir",
            R.XB8,
            "The redo log itself is followed; the server's archive of it is not needed.",
        )
    ),
    flag(
        "dump-innodb-buffer-pool",
        R.XB,
        "Have the server dump its buffer pool's page list before the backup.",
    ),
    number("dump-innodb-buffer-pool-timeout", R.XB, "Seconds to wait for that dump.", 10),
    number("dump-innodb-buffer-pool-pct", R.XB, "Percentage of the buffer pool to dump.", 0, maximum=100),
    flag(
        "extended-validation",
        R.MB,
        "Also find pages that say they are encrypted and are not. Every page is verified by its checksum anyway.",
    ),
    ignored(
        flag(
            "encrypted-backup",
            R.MB,
            "A page is taken as encrypted when its tablespace is, whatever a page of old times holds there.",
            default=True,
        )
    ),
    flag(
        "log-innodb-page-corruption",
        R.MB,
        "Go on when a page stays bad: it is copied as it is and listed in innodb_corrupted_pages.",
    ),
    flag("innodb-log-checkpoint-now", R.MB, "Have the server make a checkpoint before the backup."),
    flag(
        "incremental",
        R.IBX24 | R.XB24,
        "innobackupex: take an increment; the newest backup beside it is the base by default.",
    ),
    valued(
        "incremental-basedir",
        R.ALL,
        "Take an increment: what changed since the backup in this directory.",
        tilde=True,
    ),
    valued(
        "backup-incremental-base",
        R.XB84 | R.XB97,
        "The newer name of --incremental-basedir.",
        tilde=True,
        alias_of="incremental-basedir",
        exclusive=True,
    ),
    valued(
        "incremental-dir",
        R.ALL,
        "With --prepare: the directory of the increment to overlay.",
        tilde=True,
    ),
    valued(
        "prepare-incremental-from-dir",
        R.XB84 | R.XB97,
        "The newer name of --incremental-dir.",
        tilde=True,
        alias_of="incremental-dir",
        exclusive=True,
    ),
    valued("incremental-lsn", R.ALL, "Take an increment: pages changed since this LSN, which nobody can check."),
    ignored(
        flag(
            "incremental-force-scan",
            R.ALL,
            "Increments always read every page's header: nothing else can be forced.",
        )
    ),
    ignored(
        flag(
            "page-tracking",
            R.XB8,
            "Changed pages are found by reading every page's header; the server's list of them is not used.",
        )
    ),
    valued(
        "incremental-history-name",
        R.ALL,
        "Take an increment against the newest backup of this name in the history.",
    ),
    valued("incremental-history-uuid", R.ALL, "Take an increment against the backup of this uuid in the history."),
    valued(
        "history",
        R.ALL,
        "Record the backup in the server's history table, under this name if given.",
        arg=Arg.OPTIONAL,
        bare="",
    ),
    refused(
        number(
            "to-archived-lsn",
            R.XB,
            "Archived redo logs exist in Percona Server 5.6 only and are not applied here, so the result"
            " would not stand at that LSN. Restore to a time or position with the binlogs instead.",
        )
    ),
    ignored(valued("log-archive", R.XB24, "Archived redo logs of Percona Server 5.6 are not used.", arg=Arg.OPTIONAL)),
    ignored(flag("compact", R.PXB, "The backup is a whole one: it has its secondary indexes, and room for them.")),
    ignored(flag("rebuild-indexes", R.PXB, "Backups here are never compact: no index has to be rebuilt.")),
    ignored(number("rebuild-threads", R.PXB, "Backups here are never compact: no index has to be rebuilt.", 1)),
    flag("galera-info", R.ALL, "Write the Galera state of the node into the galera_info file."),
    flag(
        "slave-info",
        R.ALL,
        "Write the replica's position as a CHANGE MASTER statement into the slave_info file.",
    ),
    one_of(
        "binlog-info",
        R.XB24 | R.MB,
        "Whether and how the binlog position is recorded.",
        ("off", "lockless", "on", "auto"),
        arg=Arg.OPTIONAL,
        default="auto",
        bare="on",
    ),
    flag("rocksdb-backup", R.MB, "Copy RocksDB's files too, when the server has RocksDB.", default=True),
    valued("rocksdb-datadir", R.XB8 | R.MB, "Where RocksDB's files go on --copy-back.", server=True),
    ignored(valued("rocksdb-wal-dir", R.XB8, "RocksDB's log is part of its checkpoint and stays there.", server=True)),
    ignored(number("rocksdb-checkpoint-max-age", R.XB8, "Each backup makes its own RocksDB checkpoint.")),
    ignored(number("rocksdb-checkpoint-max-count", R.XB8, "A RocksDB checkpoint is removed when it was copied.")),
    valued("tables", R.ALL, "Only tables whose db.table matches one of these regular expressions."),
    valued("tables-file", R.ALL, "Only the tables listed in this file, one db.table a line."),
    valued("databases", R.ALL, "Only these databases (db) and tables (db.table), separated by blanks."),
    valued("databases-file", R.XB | R.MB, "Only the databases and tables listed in this file."),
    valued(
        "tables-exclude",
        R.XB | R.MB,
        "Not the tables whose db.table matches one of these regular expressions.",
    ),
    valued("databases-exclude", R.XB | R.MB, "Not these databases and tables."),
    valued(
        "include",
        R.IBX24,
        "innobackupex: the same as --tables.",
        alias_of="tables",
    ),
)
