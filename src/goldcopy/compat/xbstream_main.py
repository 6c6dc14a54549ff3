"""The programs ``xbstream`` (XtraBackup) and ``mbstream`` (MariaDB): pack files into a stream, unpack one.

Unlike theirs, nothing that is wrong with a stream ends in status 0.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence

from goldcopy import __version__
from goldcopy.compat.programs import Parser, dashed, read_key, run
from goldcopy.errors import TargetRefused, UsageError
from goldcopy.formats import xbcrypt, xbstream
from goldcopy.image import codecs
from goldcopy.image.channel import Channel, fifo_sources
from goldcopy.image.extract import extract

_READ_BYTES = 256 << 10
_MOST_THREADS = 256  # the originals name no end; a process cannot have as many as one may type
_HINT_MODE = "give -c FILE... to pack files, or -x to unpack a stream that comes in on standard input"


def _parser(program: str) -> Parser:
    p = Parser(prog=program, add_help=False, description="Pack files into a stream, or unpack one.")
    p.add_argument("-?", "--help", action="help", help="show this and exit")
    p.add_argument("-c", "--create", action="store_true", help="pack FILES into a stream on standard output")
    p.add_argument("-x", "--extract", action="store_true", help="unpack the stream that comes in on standard input")
    p.add_argument("-C", "--directory", default=".", metavar="DIR", help="go to this directory first")
    p.add_argument("-v", "--verbose", action="store_true", help="say the name of each file")
    p.add_argument("-p", "--parallel", type=int, default=1, metavar="N", help="threads that write files")
    p.add_argument("files", nargs="*", metavar="FILES")
    if program == "xbstream":
        _add_xtrabackup(p)
    return p


def _add_xtrabackup(p: Parser) -> None:
    """What only XtraBackup's program has."""
    p.add_argument("-V", "--version", action="version", version=f"%(prog)s (goldcopy {__version__})")
    p.add_argument("--decompress", action="store_true", help="decompress .zst, .lz4 and .qp files while unpacking")
    p.add_argument("--decompress-threads", type=int, default=1, metavar="N", help="threads that decompress")
    algorithms = [name for name in xbcrypt.KEY_BYTES if name != "NONE"]
    p.add_argument("--decrypt", metavar="ALGORITHM", choices=algorithms, type=str.upper,
                   help="decrypt .xbcrypt files while unpacking: " + ", ".join(algorithms))
    p.add_argument("-k", "--encrypt-key", metavar="KEY", help="the key itself (others can see it)")
    p.add_argument("-f", "--encrypt-key-file", metavar="FILE", help="a file with the key and nothing else")
    p.add_argument("--encrypt-threads", type=int, default=1, metavar="N", help="threads that decrypt")
    p.add_argument("--fifo-streams", type=int, default=1, metavar="N", help="named pipes to read from")
    p.add_argument("--fifo-dir", default="", metavar="DIR", help="where the named pipes are")
    p.add_argument("--fifo-timeout", type=int, default=60, metavar="SECONDS", help="wait so long for the pipes")
    p.add_argument("-P", "--absolute-names", action="store_true", help="keep absolute names as they are")


def _options(program: str, argv: Sequence[str]) -> argparse.Namespace:
    args = _parser(program).parse_args(dashed(argv))
    args.absolute_names = getattr(args, "absolute_names", False)
    if args.create == args.extract:
        raise UsageError("either -c or -x must be given, and only one of them", hint=_HINT_MODE)
    if args.create and not args.files:
        raise UsageError("there are no files to pack", hint=_HINT_MODE)
    if args.extract and args.files:
        raise UsageError(f"-x unpacks all of a stream; {args.files[0]} cannot be chosen")
    return args


# -- packing -------------------------------------------------------------------------------------------------------


def _pack(args: argparse.Namespace, say: Callable[[str], None]) -> None:
    out = Channel(sys.stdout.buffer)
    for name in args.files:
        say(name)
        _pack_file(out, args.directory, name, args.absolute_names)


def _pack_file(out: Channel, directory: str, name: str, absolute: bool) -> None:
    path = name if absolute else name.lstrip("/")
    try:
        header_path = xbstream.encode_path(path).decode("utf-8", "surrogateescape")
        with open(os.path.join(directory, name), "rb", buffering=0) as f:
            buffer, offset = memoryview(bytearray(_READ_BYTES)), 0
            while count := f.readinto(buffer):
                data = buffer[:count]
                out.write(xbstream.payload_header(header_path, offset, data), data)
                offset += count
    except ValueError as e:
        raise UsageError(f"{name} cannot be put into a stream: {e}") from e
    except OSError as e:
        raise TargetRefused(f"cannot read {name}: {e.strerror}") from e
    out.write(xbstream.end(header_path))


# -- unpacking -----------------------------------------------------------------------------------------------------


def _unpack(args: argparse.Namespace, say: Callable[[str], None]) -> None:
    count = getattr(args, "fifo_streams", 1)
    threads = max(args.parallel, getattr(args, "decompress_threads", 1), getattr(args, "encrypt_threads", 1))
    with contextlib.ExitStack() as stack:
        streams = [sys.stdin.fileno()]
        if count > 1:
            where = args.fifo_dir or args.directory
            streams = stack.enter_context(fifo_sources(where, count, args.fifo_timeout))
        key = _key(args)
        extract(
            streams,
            args.directory,
            decompress=getattr(args, "decompress", False),
            key=key,
            parallel=min(threads, _MOST_THREADS),
            absolute_names=args.absolute_names,
            on_file=say,
        )


def _key(args: argparse.Namespace) -> xbcrypt.Cipher | None:
    algorithm = getattr(args, "decrypt", None)
    return codecs.cipher(algorithm, read_key(args.encrypt_key, args.encrypt_key_file)) if algorithm else None


# -- the programs --------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None, program: str = "xbstream") -> int:
    """``xbstream``. Returns the exit status."""

    def work() -> None:
        args = _options(program, sys.argv[1:] if argv is None else argv)
        verbose = args.verbose

        def say(name: str) -> None:
            if verbose:
                print(name, file=sys.stderr)  # noqa: T201

        (_pack if args.create else _unpack)(args, say)

    return run(program, work)


def mbstream(argv: Sequence[str] | None = None) -> int:
    """``mbstream``. Returns the exit status."""
    return main(argv, "mbstream")
