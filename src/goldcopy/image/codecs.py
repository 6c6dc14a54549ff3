"""What a file of a backup may be wrapped in, one suffix for each: ``.zst``, ``.lz4``, ``.qp``, ``.xbcrypt``.

The outermost is the last: ``t.ibd.zst.xbcrypt`` is compressed, then encrypted. An encoder turns a block of a file into
bytes that stand alone (a zstd or LZ4 frame, encrypted chunks); a file is its blocks' encodings, one behind the other,
so blocks can be encoded in parallel. The peers write the same and read it, and so do the tools ``zstd`` and ``lz4``.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from goldcopy.errors import BackupInvalid, KeyMissing, Unsupported
from goldcopy.formats import qpress, xbcrypt

PIECE_BYTES = 1 << 20
"""Most that a decoder hands out at once, whatever it is fed (a few KiB may expand to gigabytes)."""

ZSTD_LEVEL = 1
LZ4_CHUNK_BYTES = 64 << 10
_LIBRARY_HINT = "install it: pip install 'goldcopy[streams]'"


class Decoder(Protocol):
    """Takes a wrapped file in pieces of any size, gives its plain bytes. Wrong data raise ValueError."""

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Plain bytes of the next wrapped ones; consume all of them before the next call."""

    def finish(self) -> Iterable[bytes]:
        """The file has ended. Raises ValueError when it does not end here."""


class Encoder(Protocol):
    """Wraps blocks of files. Thread-safe: blocks, of one file too, may be encoded at once."""

    @property
    def suffix(self) -> str:
        """What the file's name gets, with its dot."""

    def encode(self, block: bytes | memoryview) -> bytes:
        """One block, not empty, as bytes that stand alone."""

    def empty(self) -> bytes:
        """What an empty file becomes."""


def _library(name: str, purpose: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as e:
        raise Unsupported(f"{purpose} needs a Python library that is not here ({name})", hint=_LIBRARY_HINT) from e


def _zstd() -> Any:
    try:
        return importlib.import_module("compression.zstd")
    except ImportError:
        return _library("backports.zstd", "zstd compression")


# -- encoding ------------------------------------------------------------------------------------------------------


class Zstd:
    """One frame for each block, with its checksum, as ``ds_compress_zstd.cc`` writes. ``level``: 1 to 19."""

    suffix = ".zst"

    def __init__(self, level: int = ZSTD_LEVEL) -> None:
        library = _zstd()
        key = library.CompressionParameter
        self._compress = library.compress
        self._options = {key.compression_level: level, key.checksum_flag: 1, key.content_size_flag: 1}

    def encode(self, block: bytes | memoryview) -> bytes:
        data: bytes = self._compress(block, options=self._options)
        return data

    def empty(self) -> bytes:
        return self.encode(b"")


class Lz4:
    """One frame for each block: independent LZ4 blocks, content size and checksum, as ``ds_compress_lz4.cc`` writes.

    ``chunk_bytes``: largest LZ4 block; taken up to the next of 64 KiB, 256 KiB, 1 MiB, 4 MiB.
    """

    suffix = ".lz4"

    def __init__(self, chunk_bytes: int = LZ4_CHUNK_BYTES) -> None:
        self._compress = _library("lz4.frame", "LZ4 compression").compress
        # 4 to 7 stand for 64 KiB << 2 * (n - 4)
        self._block_size = next((n for n in range(4, 7) if chunk_bytes <= 64 << 10 << 2 * (n - 4)), 7)

    def encode(self, block: bytes | memoryview) -> bytes:
        data: bytes = self._compress(
            block, block_size=self._block_size, block_linked=False, content_checksum=True, store_size=True
        )
        return data

    def empty(self) -> bytes:
        return self.encode(b"")


class Encrypt:
    """xbcrypt version 3, chunks of at most ``chunk_bytes`` plain bytes, a random IV for each."""

    suffix = ".xbcrypt"

    def __init__(self, cipher: xbcrypt.Cipher, chunk_bytes: int = xbcrypt.DEFAULT_CHUNK_BYTES) -> None:
        self._cipher, self._chunk_bytes = cipher, chunk_bytes

    def encode(self, block: bytes | memoryview) -> bytes:
        view, step = memoryview(block), self._chunk_bytes
        return b"".join(
            xbcrypt.encode_chunk(self._cipher, view[at : at + step], os.urandom(xbcrypt.IV_BYTES))
            for at in range(0, len(view), step)
        )

    def empty(self) -> bytes:
        return b""


class Wrapping:
    """Encoders, innermost first, as one; none of them: files as they are."""

    def __init__(self, encoders: Sequence[Encoder] = ()) -> None:
        self._encoders = tuple(encoders)
        self.suffix = "".join(e.suffix for e in encoders)

    def __bool__(self) -> bool:
        return bool(self._encoders)

    def encode(self, block: bytes | memoryview) -> bytes:
        """One block, not empty, through all encoders."""
        for encoder in self._encoders:
            block = encoder.encode(block)
        return bytes(block)

    def empty(self) -> bytes:
        """What an empty file becomes."""
        data = b""
        for encoder in self._encoders:
            data = encoder.encode(data) if data else encoder.empty()
        return data


def cipher(algorithm: str, key: bytes) -> xbcrypt.Cipher:
    """A key for ``Encrypt`` and ``unwrap``. Raises KeyMissing for a key of the wrong length or an unknown algorithm."""
    try:
        return xbcrypt.Cipher(algorithm, key)
    except ValueError as e:
        raise KeyMissing(str(e), hint="a key file holds exactly the key's bytes: 16, 24 or 32, no newline") from e
    except ImportError as e:
        raise Unsupported("encryption needs a Python library that is not here (cryptography)",
                          hint=_LIBRARY_HINT) from e


# -- decoding ------------------------------------------------------------------------------------------------------


class _Frames:
    """Decodes frames, one behind the other, with a library's decompressor of single frames."""

    def __init__(self, make: Callable[[], Any], errors: tuple[type[Exception], ...], name: str) -> None:
        self._make, self._errors, self._name = make, errors, name
        self._frame: Any = None
        self._any = False

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        rest = bytes(data)
        while rest or self._frame is not None:
            if self._frame is None:
                self._frame, self._any = self._make(), True
            plain = self._step(rest)
            rest = b""
            if plain:
                yield plain
            if self._frame.eof:
                rest = self._frame.unused_data or b""
                self._frame = None
            elif self._frame.needs_input:
                return

    def _step(self, data: bytes) -> bytes:
        try:
            plain: bytes = self._frame.decompress(data, PIECE_BYTES)
        except self._errors as e:
            raise ValueError(f"the {self._name} data are damaged: {e}") from e
        return plain

    def finish(self) -> Iterable[bytes]:
        if self._frame is not None or not self._any:
            raise ValueError(f"the {self._name} data are cut short")
        return ()


def _zstd_decoder(_cipher: xbcrypt.Cipher | None) -> Decoder:
    library = _zstd()
    return _Frames(library.ZstdDecompressor, (library.ZstdError,), "zstd")


def _lz4_decoder(_cipher: xbcrypt.Cipher | None) -> Decoder:
    return _Frames(_library("lz4.frame", "LZ4").LZ4FrameDecompressor, (RuntimeError, EOFError), "LZ4")


def _qpress_decoder(_cipher: xbcrypt.Cipher | None) -> Decoder:
    return qpress.Decoder()


def _xbcrypt_decoder(key: xbcrypt.Cipher | None) -> Decoder:
    if key is None:
        raise KeyMissing("the file is encrypted and no key was given", hint="give --decrypt=ALGORITHM and the key")
    return xbcrypt.Decoder(key)


@dataclass(frozen=True)
class Codec:
    """What stands behind a suffix: how it is read, and whether it compresses (else it encrypts)."""

    open: Callable[[xbcrypt.Cipher | None], Decoder]
    compresses: bool


CODECS: dict[str, Codec] = {
    ".zst": Codec(_zstd_decoder, True),
    ".lz4": Codec(_lz4_decoder, True),
    ".qp": Codec(_qpress_decoder, True),
    ".xbcrypt": Codec(_xbcrypt_decoder, False),
}


def split(name: str, *, decompress: bool = True, decrypt: bool = True) -> tuple[str, tuple[str, ...]]:
    """A file's name without its wrappings, and their suffixes, outermost first.

    Stops at a wrapping that is not to be taken off: nothing inside of it can be.
    """
    suffixes: list[str] = []
    while True:
        base, dot, last = name.rpartition(".")
        codec = CODECS.get(dot + last)
        if codec is None or not base or base.endswith("/") or not (decompress if codec.compresses else decrypt):
            return name, tuple(suffixes)
        suffixes.append(dot + last)
        name = base


class _Layers:
    """Decoders, outermost first, as one."""

    def __init__(self, layers: Sequence[Decoder]) -> None:
        self._layers = layers

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        return self._through(0, data)

    def _through(self, index: int, data: bytes | memoryview) -> Iterator[bytes]:
        if index == len(self._layers):
            yield bytes(data)
            return
        for piece in self._layers[index].feed(data):
            yield from self._through(index + 1, piece)

    def finish(self) -> Iterator[bytes]:
        for index, layer in enumerate(self._layers):
            for piece in layer.finish():
                yield from self._through(index + 1, piece)


class Unwrapper:
    """Takes the wrappings off one file, front to back. What is wrong is a GoldcopyError that names the file."""

    def __init__(self, name: str, suffixes: Sequence[str], key: xbcrypt.Cipher | None = None) -> None:
        """``suffixes``: outermost first, as ``split`` returns them. Raises KeyMissing, Unsupported."""
        self._name = name
        self._layers = _Layers([CODECS[suffix].open(key) for suffix in suffixes])

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Plain bytes of the next wrapped ones. Raises BackupInvalid, KeyMissing (it is another key)."""
        return self._checked(self._layers.feed(data))

    def finish(self) -> Iterator[bytes]:
        """The file has ended: the last bytes. Raises BackupInvalid when it does not end here."""
        return self._checked(self._layers.finish())

    def _checked(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from pieces
        except xbcrypt.WrongKeyError as e:
            raise KeyMissing(f"{self._name}: {e}", hint="give the key and the algorithm of the backup") from e
        except ValueError as e:
            raise BackupInvalid(f"{self._name}: {e}", hint="take the file from another copy of the backup") from e
