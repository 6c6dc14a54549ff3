"""Streams, compression, encryption of the backup."""

from goldcopy.compat.options.declare import Arg, Option, Release, Variant, flag, number, one_of, size, valued

R = Release
_ALGORITHMS = ("NONE", "AES128", "AES192", "AES256")
_QUICKLZ = "QuickLZ is read but never written: use zstd or lz4."

OPTIONS: tuple[Option, ...] = (
    valued(
        "stream",
        R.ALL,
        "Write the backup to standard output: xbstream (MariaDB also says mbstream); tar under the names of 2.4.",
        bare="xbstream",
        variants=(Variant(R.XB8, arg=Arg.EITHER),),
    ),
    number(
        "fifo-streams",
        R.XB8,
        "Stream into so many named pipes instead of standard output.",
        1,
        minimum=1,
        maximum=2**31 - 1,
    ),
    valued("fifo-dir", R.XB8, "Where the pipes are made; --target-dir by default."),
    number("fifo-timeout", R.XB8, "Seconds to wait for a reader of a pipe.", 60, minimum=1, maximum=2**31 - 1),
    valued(
        "compress",
        R.ALL,
        "Compress each file: zstd (the default here) or lz4.",
        arg=Arg.OPTIONAL,
        bare="zstd",
        refuse=(("quicklz", _QUICKLZ),),
    ),
    number("compress-threads", R.ALL, "Threads that compress.", 1, minimum=1, maximum=2**32 - 1),
    size("compress-chunk-size", R.ALL, "Bytes that are compressed at once.", 65536, minimum=1024),
    number("compress-zstd-level", R.XB8, "zstd level, 1 to 19.", 1, minimum=1, maximum=19),
    one_of("encrypt", R.PXB, "Encrypt each file with this cipher, in xbcrypt's format.", _ALGORITHMS),
    one_of("decrypt", R.PXB, "Decrypt every .xbcrypt file of the backup.", _ALGORITHMS),
    valued(
        "encrypt-key",
        R.PXB,
        "The key: 16, 24 or 32 bytes. Others can see it while the program starts.",
        secret=True,
    ),
    valued("encrypt-key-file", R.PXB, "A file that holds the key and nothing else, no newline either."),
    number("encrypt-threads", R.PXB, "Threads that encrypt.", 1, minimum=1, maximum=2**32 - 1),
    size("encrypt-chunk-size", R.PXB, "Bytes of an encrypted chunk.", 65536, minimum=1024),
    flag(
        "remove-original",
        R.XB | R.MB,
        "Remove each compressed or encrypted file once its plain form is on disk.",
    ),
)
