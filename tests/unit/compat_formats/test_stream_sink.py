"""A backup sent through a pipe is the backup that a directory would hold, and a failed one is never taken for whole."""

from __future__ import annotations

import io
import os
import random
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from goldcopy import signals
from goldcopy.compat.decompress import DecompressRequest, decompress
from goldcopy.errors import BackupInvalid, GoldcopyError, Interrupted, TargetRefused
from goldcopy.events import silent
from goldcopy.formats import chunksum, xbstream
from goldcopy.formats.innodb.page import geometry
from goldcopy.image import codecs
from goldcopy.image.channel import Channel, interruptible
from goldcopy.image.directory import DirectorySink
from goldcopy.image.extract import extract, settle
from goldcopy.image.manifest import MANIFEST_NAME
from goldcopy.image.stream import CHANGES_NAME, StreamSink
from goldcopy.image.tarsink import TarSink
from lab.manifests import manifest, stored

MIB = 1 << 20
PAGE_0 = bytes(38) + (7).to_bytes(4, "big") + bytes(12) + (0x15).to_bytes(4, "big") + bytes(10)
GEOMETRY = geometry(PAGE_0, "mariadb")
KEY = codecs.cipher("AES256", b"k" * 32)
MANIFEST = manifest()
KINDS = ["plain", "chunks", "sparse", "zstd", "lz4+aes", "tar", "tar+zstd"]


class Sent:
    """A sink and what comes out at the other end."""

    def __init__(self, kind: str) -> None:
        self.kind, self.out = kind, io.BytesIO()
        wrapping = {
            "zstd": codecs.Wrapping([codecs.Zstd()]),
            "tar+zstd": codecs.Wrapping([codecs.Zstd()]),
            "lz4+aes": codecs.Wrapping([codecs.Lz4(), codecs.Encrypt(KEY)]),
        }.get(kind)
        if kind.startswith("tar"):
            self.sink: StreamSink = TarSink(self.out, wrapping=wrapping)
        else:
            self.sink = StreamSink(
                [self.out], wrapping=wrapping, threads=2, changes="chunks" if kind == "chunks" else "list",
                sparse=kind == "sparse",
            )

    def files(self, directory: Path) -> dict[str, bytes]:
        if self.kind.startswith("tar"):
            untar(self.out.getvalue(), directory)
        else:
            extract([io.BytesIO(self.out.getvalue())], str(directory), decompress=True, key=KEY, durable=False)
        return tree(directory)


def untar(archive: bytes, directory: Path) -> None:
    """As the user does it: with the system's tar, then ``--decompress``. Raises BackupInvalid when tar is not content.

    The list of changes is followed when such a directory is first used.
    """
    directory.mkdir(exist_ok=True)
    done = subprocess.run(["tar", "-xif", "-", "-C", directory], input=archive, capture_output=True)
    if done.returncode:
        raise BackupInvalid(done.stderr.decode())
    decompress(DecompressRequest(directory=str(directory), remove_original=True), silent)
    settle(str(directory))


def tree(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def put(sink, path: str, data: bytes) -> str:
    out = sink.put_file(path)
    for at in range(0, len(data), 70000):
        out.write(memoryview(data)[at : at + 70000])
    assert out.size == len(data)
    return out.finish()


def put_whole(sink, path: str, data: bytes, size: int | None = None, announced: int | None = None) -> str:
    out = sink.open_whole(path, size=announced or len(data), page_size=16384)
    for at in range(0, len(data), MIB):
        out.write_at(at, memoryview(data[at : at + MIB]))
    return out.finish(len(data) if size is None else size)


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def sums(data: bytes) -> str:
    running = chunksum.RunningSum()
    running.add(data)
    return running.text()


@pytest.fixture(params=KINDS)
def sent(request):
    return Sent(request.param)


def test_all_kinds_of_files_come_out_as_they_went_in(sent, tmp_path):
    space, small, redo = noise(3 * MIB + 16384), noise(98304, 2), noise(150001, 3)
    with sent.sink as sink:
        log = sink.put_file("goldcopy.redo")
        log.write(redo[:10])
        assert put_whole(sink, "db/t.ibd", space) == sums(space)
        log.write(redo[10:])
        assert put_whole(sink, "ibdata1", small) == sums(small)
        assert put(sink, "db/t.frm", b"form") == sums(b"form")
        assert put(sink, "db/empty", b"") == ""
        sink.make_dir("db2")
        assert log.finish() == sums(redo)
        sink.sync()
        sink.commit(MANIFEST)
    assert sent.files(tmp_path) == {
        "db/t.ibd": space, "ibdata1": small, "goldcopy.redo": redo, "db/t.frm": b"form", "db/empty": b"",
        "db2/db.opt": b"", MANIFEST_NAME: stored(MANIFEST),
    }


def test_holes_read_as_zeros(sent, tmp_path):
    data = bytearray(4 * MIB)
    data[:16384], data[2 * MIB + 65536 : 2 * MIB + 81920] = noise(16384), noise(16384)
    with sent.sink as sink:
        out = sink.open_whole("t.ibd", size=len(data), page_size=16384, sparse=True)
        out.write_at(0, memoryview(data)[:MIB], [(0, 16384)])
        out.write_at(2 * MIB, memoryview(data)[2 * MIB : 3 * MIB], [(2 * MIB + 65536, 2 * MIB + 81920)])
        assert out.finish(len(data)) == sums(bytes(data))
        plain = sink.put_file("log")
        plain.write(b"start")
        plain.hole(100000)
        assert plain.finish() == sums(b"start" + bytes(100000))
        sink.commit(MANIFEST)
    if sent.kind == "sparse":
        assert len(sent.out.getvalue()) < MIB
    assert sent.files(tmp_path) == {"t.ibd": data, "log": b"start" + bytes(100000), MANIFEST_NAME: stored(MANIFEST)}


@pytest.mark.parametrize("left", [2 * MIB + 16384, 2 * MIB, 16384, 0])
def test_a_tablespace_that_shrank(sent, tmp_path, left):
    """Truncated while it is read: the chunk at the new end is short, later ones may have been read before."""
    data = noise(4 * MIB)
    with sent.sink as sink:
        out = sink.open_whole("undo001", size=len(data), page_size=16384)
        for at in range(0, left, MIB):
            out.write_at(at, memoryview(data)[at : min(at + MIB, left)])
        out.write_at(3 * MIB, memoryview(data)[3 * MIB :])
        assert out.finish(left) == sums(data[:left])
        sink.commit(MANIFEST)
    found = sent.files(tmp_path)
    assert found["undo001"][:left] == data[:left]
    if "zstd" not in sent.kind and "aes" not in sent.kind:
        assert len(found["undo001"]) == left


def test_increments_are_those_of_a_directory(sent, tmp_path):
    """More than a cluster, so that the block which comes last must be put first."""
    numbers = list(range(3, 4600))
    pages = [i.to_bytes(4, "big") * 4096 for i in numbers]
    texts = []
    with DirectorySink(str(tmp_path / "directory")) as directory, sent.sink as sink:
        for target in (directory, sink):
            out = target.open_delta("db/t.ibd", geometry=GEOMETRY)
            for at in range(0, len(pages), 64):
                out.write_pages(numbers[at : at + 64], [memoryview(p) for p in pages[at : at + 64]])
            texts.append(out.finish())
            target.commit(MANIFEST)
    assert texts[0] == texts[1]
    assert sent.files(tmp_path / "stream") == tree(tmp_path / "directory")


def test_what_ddl_moved_is_at_its_new_place(sent, tmp_path):
    with sent.sink as sink:
        for name in ("a", "b", "c", "d"):
            put_whole(sink, f"db/{name}.ibd", name.encode() * 16384)
        delta = sink.open_delta("db/e.ibd", geometry=GEOMETRY)
        delta.write_pages([1], [memoryview(bytes(16384))])
        delta.finish()
        sink.remove_space("db/c.ibd")
        sink.remove_space("db/never.ibd")
        for old, new in (("a", "park"), ("b", "a"), ("park", "b"), ("d", "new"), ("e", "f")):
            sink.rename_space(f"db/{old}.ibd", f"db/{new}.ibd")
        put_whole(sink, "db/c.ibd", b"C" * 16384)
        put_whole(sink, "db/d.ibd", b"D" * 16384)
        with pytest.raises(ValueError, match="taken"):
            sink.rename_space("db/a.ibd", "db/b.ibd")
        sink.commit(MANIFEST)
    found = sent.files(tmp_path)
    assert {n: d[:1] for n, d in found.items() if n.endswith(".ibd")} == {
        "db/a.ibd": b"b", "db/b.ibd": b"a", "db/c.ibd": b"C", "db/new.ibd": b"d", "db/d.ibd": b"D",
    }
    assert {n for n in found if "/e." in n or "/f." in n} == {"db/f.ibd.delta", "db/f.ibd.meta"}
    assert not [n for n in found if "goldcopy" in n and n != MANIFEST_NAME]


def test_a_file_sent_three_times_is_the_last_one(sent, tmp_path):
    with sent.sink as sink:
        for text in (b"first", b"second", b"third"):
            sink.remove_file("aria_log.1")
            put(sink, "aria_log.1", text * 20000)
        sink.commit(MANIFEST)
    assert sent.files(tmp_path) == {"aria_log.1": b"third" * 20000, MANIFEST_NAME: stored(MANIFEST)}


def test_a_file_begun_anew_is_the_second_one(sent, tmp_path):
    with sent.sink as sink:
        out = sink.put_file("goldcopy.redo")
        out.write(b"x" * 200000)
        out.abort()
        put(sink, "goldcopy.redo", b"y")
        sink.commit(MANIFEST)
    assert sent.files(tmp_path) == {"goldcopy.redo": b"y", MANIFEST_NAME: stored(MANIFEST)}


def test_a_failed_backup_is_an_error_at_the_other_end(sent, tmp_path):
    with pytest.raises(ZeroDivisionError), sent.sink as sink:
        put(sink, "t", b"1")
        raise ZeroDivisionError
    with pytest.raises(BackupInvalid):
        sent.files(tmp_path)


@pytest.mark.parametrize("sent_bytes", [None, 0, 100, 1024])
def test_gnu_tar_refuses_a_failed_backup(tmp_path, sent_bytes):
    """Between files, and inside of one: nothing of it, some, or all but the word that it is whole."""
    sent = Sent("tar")
    with sent.sink as sink:
        put(sink, "t", b"1")
        if sent_bytes is not None:
            out = sink.open_whole("t.ibd", size=1024, page_size=1024)
            out.write_at(0, memoryview(bytes(sent_bytes)))
    with pytest.raises(BackupInvalid):
        sent.files(tmp_path)


def test_many_threads_never_tear_a_chunk(sent, tmp_path):
    files = {f"db{i % 3}/t{i}.ibd": noise(MIB + 16384 * i, i) for i in range(12)}
    names = sorted(files)
    with sent.sink as sink:

        def copy(start: int) -> None:
            for name in names[start::4]:
                put_whole(sink, name, files[name])

        threads = [threading.Thread(target=copy, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        sink.commit(MANIFEST)
    found = sent.files(tmp_path)
    del found[MANIFEST_NAME]
    assert found == files


def test_what_everybody_must_be_able_to_read_is_never_wrapped():
    sent = Sent("lz4+aes")
    with sent.sink as sink:
        put(sink, "xtrabackup_checkpoints", b"1")
        put(sink, "xtrabackup_info", b"1")
        sink.commit(MANIFEST)
    names = [e.path for e in xbstream.Decoder().feed(sent.out.getvalue()) if isinstance(e, xbstream.End)]
    assert names == ["xtrabackup_checkpoints", "xtrabackup_info.lz4.xbcrypt", MANIFEST_NAME]


def test_the_manifest_comes_last_and_a_list_only_when_needed():
    for drop in (False, True):
        sent = Sent("plain")
        with sent.sink as sink:
            put(sink, "a", b"1")
            if drop:
                sink.remove_file("a")
            sink.commit(MANIFEST)
        names = [e.path for e in xbstream.Decoder().feed(sent.out.getvalue()) if isinstance(e, xbstream.End)]
        assert names == ["a", *[CHANGES_NAME] * drop, MANIFEST_NAME]


def test_no_chunk_is_larger_than_the_peers_make_them():
    sent = Sent("plain")
    with sent.sink as sink:
        put_whole(sink, "t", bytes(16384))
        out = sink.put_file("big")
        out.write(bytes(25 << 20))
        out.finish()
        sink.commit(MANIFEST)
    sizes = [len(e.data) for e in xbstream.Decoder().feed(sent.out.getvalue()) if isinstance(e, xbstream.Payload)]
    assert max(sizes) == xbstream.CHUNK_BYTES <= 10 << 20
    assert sum(sizes) == 16384 + (25 << 20) + len(stored(MANIFEST))


def test_a_reader_that_is_gone_is_said_and_nothing_hangs():
    r, w = os.pipe()
    os.close(r)
    try:
        with pytest.raises(TargetRefused, match="reader is gone"), open(w, "wb", closefd=False) as f, \
                StreamSink([f], threads=2, wrapping=codecs.Wrapping([codecs.Zstd()])) as sink:
            put_whole(sink, "t", noise(8 * MIB))
    finally:
        os.close(w)


def test_two_streams_share_the_files(tmp_path):
    outs = [io.BytesIO(), io.BytesIO()]
    with StreamSink(outs, changes="chunks") as sink:
        for i in range(6):
            put_whole(sink, f"t{i}", noise(16384, i))
        sink.rename_space("t0", "t9")
        sink.rename_space("t1", "t0")
        sink.commit(MANIFEST)
    extract([io.BytesIO(o.getvalue()) for o in outs], str(tmp_path), durable=False)
    assert tree(tmp_path)["t9"] == noise(16384, 0)
    assert tree(tmp_path)["t0"] == noise(16384, 1)
    assert all(len(o.getvalue()) > 30000 for o in outs)


@pytest.mark.parametrize("kind", ["plain", "tar"])
def test_a_name_that_no_stream_can_carry_is_refused_with_what_to_do(kind: str) -> None:
    with pytest.raises(TargetRefused, match="511") as refused:
        Sent(kind).sink.open_whole("d" * 255 + "/" + "t" * 256, size=MIB, page_size=16384)
    assert refused.value.hint


def test_what_has_to_wait_waits_where_the_user_has_room(tmp_path: Path) -> None:
    """A second tablespace of a tar stream is kept until the first one ends."""
    for place, fails in ((tmp_path, False), (tmp_path / "nowhere", True)):
        sink = TarSink(io.BytesIO(), tmpdir=str(place))
        sink.open_whole("a", size=MIB, page_size=16384)
        second = sink.open_whole("b", size=3 * MIB, page_size=16384)
        second.write_at(0, memoryview(bytes(MIB)))
        if fails:
            with pytest.raises(TargetRefused, match="nowhere"):
                second.write_at(MIB, memoryview(bytes(MIB)))
        else:
            second.write_at(MIB, memoryview(bytes(MIB)))
        second.abort()


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_reader_that_takes_nothing_is_not_waited_for_after_a_signal(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another thread, too, which no signal reaches."""
    if kind == "pipe":
        reading, writing = os.pipe()
    else:
        reading, writing = (end.detach() for end in socket.socketpair())
    monkeypatch.setattr(signals, "_received", [])
    channel, failed = Channel(writing), []

    def write() -> None:
        try:
            channel.write(bytes(8 << 20))
        except GoldcopyError as e:
            failed.append(e)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    signals.catch()
    try:
        with interruptible([channel]):
            thread = threading.Thread(target=write)
            thread.start()
            time.sleep(0.2)
            assert thread.is_alive()
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            thread.join(5)
            assert not thread.is_alive()
        assert failed
        assert isinstance(failed[0], Interrupted) == (kind == "pipe")
        assert os.get_blocking(writing)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)
