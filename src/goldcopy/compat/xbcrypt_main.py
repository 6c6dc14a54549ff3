"""The program ``xbcrypt``: encrypt or decrypt one file in XtraBackup's format. It adds and strips no suffix."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from goldcopy.compat.programs import Parser, dashed, read_key, run
from goldcopy.errors import TargetRefused, UsageError
from goldcopy.formats import xbcrypt
from goldcopy.image import codecs

KEY_VARIABLE = "XBCRYPT_ENCRYPTION_KEY"
_READ_BYTES = 10 << 20
_MIN_CHUNK_BYTES = 1024


def _parser() -> Parser:
    p = Parser(prog="xbcrypt", add_help=False, description="Encrypt or decrypt one file.")
    p.add_argument("-?", "--help", action="help", help="show this and exit")
    p.add_argument("-d", "--decrypt", action="store_true", help="decrypt (default: encrypt)")
    p.add_argument("-i", "--input", default="", metavar="FILE", help="read this, not standard input")
    p.add_argument("-o", "--output", default="", metavar="FILE", help="write this new file, not standard output")
    p.add_argument("-a", "--encrypt-algo", required=True, type=str.upper, choices=list(xbcrypt.KEY_BYTES),
                   help="the algorithm: " + ", ".join(xbcrypt.KEY_BYTES))
    p.add_argument("-k", "--encrypt-key", metavar="KEY", help=f"the key itself (others can see it; see {KEY_VARIABLE})")
    p.add_argument("-f", "--encrypt-key-file", metavar="FILE", help="a file with the key and nothing else")
    p.add_argument("-s", "--encrypt-chunk-size", type=_size, default=xbcrypt.DEFAULT_CHUNK_BYTES, metavar="BYTES",
                   help="bytes of an encrypted chunk")
    p.add_argument("-t", "--encrypt-threads", type=int, default=1, metavar="N", help="accepted; one thread is used")
    p.add_argument("-r", "--read-buffer-size", type=_size, default=_READ_BYTES, metavar="BYTES",
                   help="bytes read at once")
    p.add_argument("-v", "--verbose", action="store_true", help="say what is done")
    return p


def _size(text: str) -> int:
    units = {"K": 10, "M": 20, "G": 30}
    unit = units.get(text[-1:].upper(), 0)
    return int(text[:-1] if unit else text) << unit


def _key(args: argparse.Namespace) -> bytes:
    if args.encrypt_algo == "NONE":
        return b""
    text = args.encrypt_key
    if text is None and args.encrypt_key_file is None:
        text = os.environ.get(KEY_VARIABLE)
    return read_key(text, args.encrypt_key_file)


@contextlib.contextmanager
def _input(path: str) -> Iterator[BinaryIO]:
    if not path:
        yield sys.stdin.buffer
        return
    try:
        f = open(path, "rb")
    except OSError as e:
        raise UsageError(f"cannot read {path}: {e.strerror}") from e
    with f:
        yield f


@contextlib.contextmanager
def _output(path: str) -> Iterator[BinaryIO]:
    """A new file, which has its name only when it is whole; or something that is no plain file, as it is."""
    if not path:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if os.path.lexists(path):
        if stat.S_ISREG(os.lstat(path).st_mode):
            raise TargetRefused(f"{path} exists already; it was not touched", hint="give another name with -o")
        with open(path, "wb") as f:
            yield f
        return
    temporary = f"{path}.{secrets.token_hex(4)}.part"
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "wb") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        os.link(temporary, path)
    except FileExistsError as e:
        raise TargetRefused(f"{path} exists already; it was not touched") from e
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _pour(source: BinaryIO, read_bytes: int, convert: Callable[[bytes], Iterator[bytes]], out: BinaryIO) -> None:
    while data := source.read(read_bytes):
        for piece in convert(data):
            out.write(piece)


def _work(args: argparse.Namespace) -> None:
    cipher = codecs.cipher(args.encrypt_algo, _key(args))
    read_bytes = max(1, args.read_buffer_size)
    with _input(args.input) as source, _output(args.output) as out:
        if args.decrypt:
            unwrap = codecs.Unwrapper(args.input or "standard input", (".xbcrypt",), cipher)
            _pour(source, read_bytes, unwrap.feed, out)
            for piece in unwrap.finish():
                out.write(piece)
        else:
            encrypt = codecs.Encrypt(cipher, max(_MIN_CHUNK_BYTES, args.encrypt_chunk_size))
            _pour(source, read_bytes, lambda data: iter([encrypt.encode(data)]), out)


def main(argv: Sequence[str] | None = None) -> int:
    """``xbcrypt``. Returns the exit status."""
    return run("xbcrypt", lambda: _work(_parser().parse_args(dashed(sys.argv[1:] if argv is None else argv))))
