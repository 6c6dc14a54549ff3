"""Where a backup of the peers' options goes: a directory, standard output, named pipes; packed or plain."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from goldcopy.compat.options.settings import Settings
from goldcopy.compat.programs import read_key
from goldcopy.dialect.peers import Peer
from goldcopy.errors import GoldcopyError, UsageError
from goldcopy.formats.xbcrypt import Cipher
from goldcopy.image import codecs
from goldcopy.image.channel import Channel, fifo_channels, interruptible
from goldcopy.image.directory import DirectorySink
from goldcopy.image.extract import extract
from goldcopy.image.sink import Sink, Sizes
from goldcopy.image.stream import Changes, StreamSink
from goldcopy.image.tarsink import TarSink

_STREAMS = ("xbstream", "mbstream", "tar")
_STDOUT = 1


@dataclass(frozen=True)
class Packing:
    """How each file is wrapped. ``compress``: ``zstd``, ``lz4`` or ""; ``cipher``: None = not encrypted."""

    compress: str = ""
    level: int = 1
    compress_chunk_bytes: int = 65536
    cipher: Cipher | None = field(default=None, repr=False)
    encrypt_chunk_bytes: int = 65536

    @property
    def compressed(self) -> bool:
        """Whether files are compressed."""
        return bool(self.compress)

    @property
    def encrypted(self) -> bool:
        """Whether files are encrypted."""
        return self.cipher is not None

    def wrapping(self) -> codecs.Wrapping:
        """The encoders, compression first. Raises Unsupported when a library is missing."""
        encoders: list[codecs.Encoder] = []
        if self.compress == "zstd":
            encoders.append(codecs.Zstd(self.level))
        elif self.compress == "lz4":
            encoders.append(codecs.Lz4(self.compress_chunk_bytes))
        if self.cipher is not None:
            encoders.append(codecs.Encrypt(self.cipher, self.encrypt_chunk_bytes))
        return codecs.Wrapping(encoders)


def cipher_of(settings: Settings, option: str) -> Cipher | None:
    """The key for ``--encrypt`` or ``--decrypt``, None when it was not given. Raises UsageError, KeyMissing."""
    algorithm = settings.text(option)
    if not algorithm:
        return None
    text, path = settings.value("encrypt-key"), settings.value("encrypt-key-file")
    if algorithm == "NONE":
        return codecs.cipher(algorithm, b"")
    return codecs.cipher(algorithm, read_key(None if text is None else str(text), None if path is None else str(path)))


def packing_of(settings: Settings) -> Packing:
    """What --compress and --encrypt say. Raises UsageError, KeyMissing."""
    compress = settings.text("compress").lower() if settings.given("compress") else ""
    if compress not in ("", "zstd", "lz4"):
        raise UsageError(f"Invalid --compress argument: {compress}", hint="zstd or lz4")
    return Packing(
        compress,
        settings.number("compress-zstd-level") or 1,
        settings.number("compress-chunk-size"),
        cipher_of(settings, "encrypt"),
        settings.number("encrypt-chunk-size"),
    )


def stream_of(settings: Settings) -> str:
    """The kind of stream that is asked for, "" = none: a directory."""
    return settings.text("stream") or ("xbstream" if settings.number("fifo-streams") > 1 else "")


def tmpdir_of(settings: Settings) -> str:
    """Where temporary files go, "" = not told. Of several directories, as the server may have them, the first."""
    return settings.text("tmpdir").split(":")[0]


def _threads(settings: Settings) -> int:
    return max(1, settings.number("compress-threads"), settings.number("encrypt-threads"))


@contextlib.contextmanager
def open_sink(settings: Settings, target_dir: str, peer: Peer) -> Iterator[Sink]:
    """The sink that was asked for. Raises UsageError for a stream that these servers' tools do not know."""
    packing = packing_of(settings)
    stream = stream_of(settings)
    if not stream:
        with _directory(target_dir, packing, _threads(settings)) as sink:
            yield sink
        return
    _check_stream(settings, stream)
    changes: Changes = "chunks" if peer.stream_format == "mbstream" else "list"
    with _outputs(settings, target_dir) as outputs:
        if stream == "tar":
            with TarSink(outputs[0], wrapping=packing.wrapping(), tmpdir=tmpdir_of(settings)) as tar:
                yield tar
        else:
            wrapping, sparse = packing.wrapping(), not peer.mariadb
            with StreamSink(
                outputs, wrapping=wrapping, threads=_threads(settings), changes=changes, sparse=sparse,
                tmpdir=tmpdir_of(settings),
            ) as out:
                yield out


def _check_stream(settings: Settings, stream: str) -> None:
    if stream not in _STREAMS or (stream == "tar" and settings.face.mariadb):
        raise UsageError(f"Invalid --stream argument: {stream}", hint="xbstream")
    if stream == "tar" and settings.number("fifo-streams") > 1:
        raise UsageError("tar cannot be streamed into several pipes", hint="--stream=xbstream")


@contextlib.contextmanager
def _outputs(settings: Settings, target_dir: str) -> Iterator[list[Channel]]:
    count = settings.number("fifo-streams")
    if count <= 1:
        channels = [Channel(_STDOUT, "standard output")]
        with interruptible(channels):
            yield channels
        return
    directory = settings.text("fifo-dir") or target_dir
    os.makedirs(directory, exist_ok=True)
    with fifo_channels(directory, count, settings.number("fifo-timeout")) as channels, interruptible(channels):
        yield channels


# -- a directory of wrapped files -----------------------------------------------------------------------


@contextlib.contextmanager
def _directory(target_dir: str, packing: Packing, threads: int) -> Iterator[Sink]:
    with DirectorySink(target_dir) as sink:
        if not (packing.compressed or packing.encrypted):
            yield sink
            return
    with _packed(target_dir, packing, threads) as out:
        yield out


@contextlib.contextmanager
def _packed(target_dir: str, packing: Packing, threads: int) -> Iterator[Sink]:
    """A stream that is unpacked into the directory again, wrappings left on: one way to wrap files, not two."""
    reading, writing = os.pipe()
    reader = _Reader(reading, target_dir)
    reader.start()
    whole = False
    try:
        with _DirectoryStream(target_dir, writing, packing, threads) as sink:
            yield sink
        whole = True
    finally:
        os.close(writing)
        reader.join()
        os.close(reading)
        if not whole or reader.error is not None:
            _clear(target_dir)
    if reader.error is not None:
        raise reader.error


class _DirectoryStream(StreamSink):
    """Into a directory, through a stream that nobody sees: its chunks take no room."""

    def __init__(self, directory: str, writing: int, packing: Packing, threads: int) -> None:
        super().__init__([Channel(writing, directory)], wrapping=packing.wrapping(), threads=threads)
        self._directory = directory

    def sizes(self) -> Sizes:
        places = (os.path.join(folder, name) for folder, _, names in os.walk(self._directory) for name in names)
        return Sizes(sum(map(_size, places)), super().sizes().content_bytes)


def _size(path: str) -> int:
    """0 for a file that has gone: while the reader is at work, each takes its name when it is whole."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _clear(directory: str) -> None:
    """The directory was empty when this backup began, so all that is in it is of this backup."""
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False) and entry.name != "lost+found":
            shutil.rmtree(entry.path, ignore_errors=True)
        elif not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.path)


class _Reader(threading.Thread):
    """Unpacks until the pipe's other end is closed."""

    def __init__(self, fd: int, directory: str) -> None:
        super().__init__(name="unpack")
        self._fd, self._directory = fd, directory
        self.error: GoldcopyError | None = None

    def run(self) -> None:
        """The thread."""
        try:
            extract([self._fd], self._directory)
        except GoldcopyError as e:
            self.error = e
            # the writer must not wait for ever in a full pipe
            with contextlib.suppress(OSError):
                while os.read(self._fd, 1 << 20):
                    pass
