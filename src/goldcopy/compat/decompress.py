"""``--decompress`` and ``--decrypt`` on a directory: each wrapped file gets its plain one beside it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from goldcopy import signals
from goldcopy.compat.increments import ROCKSDB, entries
from goldcopy.errors import TargetRefused, UsageError, writing
from goldcopy.events import Emit, Note
from goldcopy.formats.xbcrypt import Cipher
from goldcopy.image import osfile
from goldcopy.image.codecs import PIECE_BYTES, Unwrapper, split
from goldcopy.image.holes import punch_compressed_pages
from goldcopy.restore.durable import working_name
from goldcopy.restore.pooled import each

_SAFE_NAME = re.compile(r"[A-Za-z0-9@#_./-]+\Z")


@dataclass(frozen=True, kw_only=True)
class DecompressRequest:
    """``decompress``: take .zst, .lz4 and .qp off. ``cipher``: take .xbcrypt off with this key (``codecs.cipher``).

    ``remove_original``: the wrapped file goes when its plain one is there, and durable. ``parallel``: files at a time.
    ``safe_names``: a file whose name a shell could misread ends the run before anything is unwrapped, as in
    mariadb-backup, which must fear them (MDEV-39565). Here no shell sees a name, and a tablespace of MySQL may have one
    with blanks.
    """

    directory: str
    decompress: bool = True
    cipher: Cipher | None = field(default=None, repr=False)
    remove_original: bool = False
    parallel: int = 1
    safe_names: bool = False


@dataclass(frozen=True)
class _Job:
    packed: str
    plain: str
    suffixes: tuple[str, ...]


def decompress(request: DecompressRequest, emit: Emit) -> int:
    """Unwrap every file that is wrapped. Returns how many were.

    Raises BackupInvalid for damaged data, UsageError for names that are not safe, KeyMissing, Unsupported (a
    library is missing), TargetRefused when another file has the plain one's name, NoSpace. What was begun leaves no
    trace.
    """
    if not os.path.isdir(request.directory):
        raise UsageError(f"there is no directory {request.directory}", hint="--target-dir is the directory of a backup")
    jobs = list(_jobs(request, emit))
    for job in each(lambda job: _do(job, request, emit), jobs, max(1, request.parallel)):
        if request.remove_original:
            emit(Note(f"removing {job.packed}"))
            os.unlink(job.packed)
    return len(jobs)


def _jobs(request: DecompressRequest, emit: Emit) -> Iterator[_Job]:
    home = os.path.abspath(request.directory)
    rocksdb = os.path.join(home, ROCKSDB)
    paths = list(entries(home))
    if os.path.isdir(rocksdb):
        paths += [f"{ROCKSDB}/{path}" for path in entries(rocksdb)]
    for path in paths:
        plain, suffixes = split(path, decompress=request.decompress, decrypt=request.cipher is not None)
        if not suffixes:
            continue
        if request.safe_names and not _SAFE_NAME.match(path):
            # the original's words, blank lines included
            emit(Note(f"decompressing ./{path}\n\n"))
            raise UsageError("Error: invalid file name\n\nError: thread 0 failed.")
        yield _Job(os.path.join(home, path), os.path.join(home, plain), suffixes)


def _do(job: _Job, request: DecompressRequest, emit: Emit) -> _Job:
    emit(Note(f"decompressing {job.packed}" if request.decompress else f"decrypting {job.packed}"))
    with writing(job.plain):
        # an empty file may be what a failed attempt of another program left
        if os.path.exists(job.plain) and os.path.getsize(job.plain):
            _compare(job, request)
        else:
            _unwrap(job, request)
    return job


def _pieces(job: _Job, request: DecompressRequest) -> Iterator[bytes]:
    unwrapper = Unwrapper(job.packed, job.suffixes, request.cipher)
    with open(job.packed, "rb", buffering=0) as f:
        while data := f.read(PIECE_BYTES):
            signals.check()
            yield from unwrapper.feed(data)
    yield from unwrapper.finish()


def _unwrap(job: _Job, request: DecompressRequest) -> None:
    working = working_name(job.plain)
    out = os.open(working, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        size = 0
        for piece in _pieces(job, request):
            osfile.write_at(out, memoryview(piece), size, osfile.WRITE_BYTES)
            size += len(piece)
        os.ftruncate(out, size)
        punch_compressed_pages(out, job.plain)
        os.fsync(out)
        os.rename(working, job.plain)
        osfile.sync_directory(os.path.dirname(job.plain))
    except BaseException:
        os.unlink(working)
        raise
    finally:
        os.close(out)


def _compare(job: _Job, request: DecompressRequest) -> None:
    """Done by an earlier call: right when the bytes are the same."""
    with open(job.plain, "rb", buffering=0) as f:
        offset = 0
        for piece in _pieces(job, request):
            if os.pread(f.fileno(), len(piece), offset) != piece:
                break
            offset += len(piece)
        else:
            if offset == os.fstat(f.fileno()).st_size:
                return
    raise TargetRefused(
        f"{job.plain} is there already and is another file than {job.packed} holds; it was not overwritten",
        hint="a prepared backup needs no decompressing; else move the file away",
    )
