"""Reading a stream never touches what was there, never leaves its directory, and never leaves half a file."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import msgspec
import pytest

from goldcopy.errors import BackupInvalid, KeyMissing, TargetRefused
from goldcopy.formats import xbstream
from goldcopy.image import channel, codecs
from goldcopy.image.extract import extract, settle
from goldcopy.image.stream import CHANGES_NAME, ChangeList


def chunk(path: str, offset: int, data: bytes) -> bytes:
    return xbstream.payload_header(path, offset, data) + data


def file(path: str, data: bytes) -> bytes:
    return chunk(path, 0, data) + xbstream.end(path)


def read(stream: bytes, directory: Path, **options):
    return extract([io.BytesIO(stream)], str(directory), durable=False, **options)


def tree(directory: Path) -> dict[str, bytes]:
    """Every file below, by its relative name; hidden ones too."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("parallel", [1, 4])
def test_files_lie_at_their_places_with_the_modes_of_the_peers(tmp_path, parallel):
    stream = (
        chunk("ibdata1", 0, b"a" * 100000) + file("db/deep/er/t.ibd", b"t") + chunk("ibdata1", 100000, b"b")
        + xbstream.end("ibdata1") + xbstream.end("./db//empty")
    )
    done = read(stream, tmp_path / "new" / "out", parallel=parallel)
    out = tmp_path / "new" / "out"
    assert tree(out) == {"ibdata1": b"a" * 100000 + b"b", "db/deep/er/t.ibd": b"t", "db/empty": b""}
    assert (done.files, done.size_bytes) == (3, 100002)
    assert (out / "ibdata1").stat().st_mode & 0o777 == 0o640
    assert (out / "db" / "deep").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("parallel", [1, 4])
def test_a_file_that_is_there_is_never_overwritten(tmp_path, parallel):
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "t.ibd").write_bytes(b"precious")
    with pytest.raises(TargetRefused, match=r"t\.ibd exists"):
        read(file("a", b"1") + file("db/t.ibd", b"new"), tmp_path, parallel=parallel)
    assert tree(tmp_path)["db/t.ibd"] == b"precious"
    assert not [p for p in tree(tmp_path) if ".part" in p]


@pytest.mark.parametrize("parallel", [1, 3])
def test_a_file_twice_in_a_stream_is_an_error(tmp_path, parallel):
    """The real programs stop there with status 0."""
    with pytest.raises(TargetRefused, match="exists already"):
        read(file("t", b"1") + file("t", b"2"), tmp_path, parallel=parallel)
    # with threads either may come first, or none be in place yet: it is an error, and never a mixture of both
    assert tree(tmp_path) == {"t": b"1"} or (parallel > 1 and tree(tmp_path) in ({}, {"t": b"2"}))


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    stream = chunk("t", 0, b"new")

    class Stream(io.RawIOBase):
        parts = [stream, xbstream.end("t")]

        def read(self, _size=-1):
            if len(self.parts) == 1:
                (tmp_path / "t").write_bytes(b"precious")
            return self.parts.pop(0) if self.parts else b""

    with pytest.raises(TargetRefused):
        extract([Stream()], str(tmp_path), durable=False)
    assert tree(tmp_path) == {"t": b"precious"}


@pytest.mark.parametrize("parallel", [1, 4])
def test_a_cut_stream_leaves_whole_files_only_and_names_the_others(tmp_path, parallel):
    stream = file("whole", b"1") + chunk("db/half.ibd", 0, b"x" * 5000)
    with pytest.raises(BackupInvalid, match=r"db/half\.ibd") as e:
        read(stream[:-1], tmp_path, parallel=parallel)
    assert e.value.hint
    assert tree(tmp_path) == {"whole": b"1"}


def test_a_stream_that_never_began_is_no_backup(tmp_path):
    """The real programs end with status 0 when the one before them in the pipe has died at once."""
    with pytest.raises(BackupInvalid, match="empty") as e:
        read(b"", tmp_path)
    assert e.value.hint
    extract([io.BytesIO(b""), io.BytesIO(file("t", b"1"))], str(tmp_path), durable=False)
    assert tree(tmp_path) == {"t": b"1"}


@pytest.mark.parametrize("parallel", [1, 4])
def test_a_chunk_with_a_wrong_sum_leaves_nothing_of_its_file(tmp_path, parallel):
    stream = bytearray(file("t", b"x" * 5000))
    stream[-100] ^= 1
    with pytest.raises(BackupInvalid, match="damaged"):
        read(bytes(stream), tmp_path, parallel=parallel)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("name", ["../up", "a/../../up"])
def test_nothing_is_written_outside(tmp_path, name):
    raw = name.encode()
    stream = b"XBSTCK01\0E" + len(raw).to_bytes(4, "little") + raw
    with pytest.raises(BackupInvalid):
        read(stream, tmp_path / "out")
    assert not (tmp_path / "up").exists()


@pytest.mark.parametrize("parallel", [1, 4])
def test_nothing_is_written_through_a_symbolic_link(tmp_path, parallel):
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    out.mkdir()
    (out / "db").symlink_to(outside)
    (out / "file").symlink_to(outside / "made")
    with pytest.raises(TargetRefused, match="symbolic link"):
        read(file("db/t.ibd", b"1"), out, parallel=parallel)
    with pytest.raises(TargetRefused):
        read(file("file", b"1"), out, parallel=parallel)
    assert tree(outside) == {}


def test_a_rename_cannot_go_through_a_symbolic_link_or_over_a_file(tmp_path):
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    out.mkdir()
    (out / "db").symlink_to(outside)
    (out / "mine").write_bytes(b"precious")
    for new in ("db/t", "mine"):
        with pytest.raises(TargetRefused):
            read(file("a" + new[0], b"1") + xbstream.rename("a" + new[0], new), out)
    assert tree(outside) == {}
    assert (out / "mine").read_bytes() == b"precious"


def test_a_removal_takes_only_what_the_stream_brought(tmp_path):
    (tmp_path / "mine").write_bytes(b"precious")
    stream = file("t", b"1") + xbstream.remove("t") + xbstream.remove("never was") + file("t", b"2")
    read(stream, tmp_path)
    assert tree(tmp_path) == {"mine": b"precious", "t": b"2"}
    with pytest.raises(TargetRefused):
        read(xbstream.remove("mine"), tmp_path)
    assert (tmp_path / "mine").read_bytes() == b"precious"


def test_renames_and_seeks_of_mariadb(tmp_path):
    stream = (
        file("a", b"1") + xbstream.rename("a", "new/b") + xbstream.seek("s", 100000) + chunk("s", 100000, b"end")
        + xbstream.seek("s", 0) + chunk("s", 0, b"start") + xbstream.end("s")
    )
    read(stream, tmp_path)
    assert tree(tmp_path) == {"new/b": b"1", "s": b"start" + bytes(99995) + b"end"}


def test_holes_of_xtrabackup_need_no_room(tmp_path):
    size = 64 << 20
    head = xbstream.sparse_header("t.ibd", 0, [(0, 4096), (size, 4096), (size, 0)], b"x" * 8192)
    read(head + b"x" * 8192 + xbstream.end("t.ibd"), tmp_path)
    stat = (tmp_path / "t.ibd").stat()
    assert stat.st_size == 2 * size + 8192
    assert stat.st_blocks * 512 < 1 << 20
    with (tmp_path / "t.ibd").open("rb") as f:
        assert f.read(4100) == b"x" * 4096 + bytes(4)
        f.seek(4096 + size)
        assert f.read(4100) == b"x" * 4096 + bytes(4)


@pytest.mark.parametrize("parallel", [1, 4])
def test_decompressed_and_decrypted_on_the_way(tmp_path, parallel):
    key = codecs.cipher("AES128", b"k" * 16)
    zst, both = codecs.Wrapping([codecs.Zstd()]), codecs.Wrapping([codecs.Lz4(), codecs.Encrypt(key)])
    plain = b"pages " * 30000
    stream = file("db/a.ibd.zst", zst.encode(plain)) + file("db/b.ibd.lz4.xbcrypt", both.encode(plain))
    read(stream, tmp_path / "all", decompress=True, key=key, parallel=parallel)
    assert tree(tmp_path / "all") == {"db/a.ibd": plain, "db/b.ibd": plain}
    read(stream, tmp_path / "as is", parallel=parallel)
    assert set(tree(tmp_path / "as is")) == {"db/a.ibd.zst", "db/b.ibd.lz4.xbcrypt"}
    read(stream, tmp_path / "decrypted", key=key, parallel=parallel)
    assert set(tree(tmp_path / "decrypted")) == {"db/a.ibd.zst", "db/b.ibd.lz4"}
    with pytest.raises(KeyMissing):
        read(stream, tmp_path / "wrong", key=codecs.cipher("AES128", b"w" * 16), parallel=parallel)
    assert "db/b.ibd.lz4" not in tree(tmp_path / "wrong")


def test_holes_of_compressed_pages_come_back_when_the_stream_had_none(tmp_path):
    pages = bytes([1]) * 16384 + b"c" * 24 + (14).to_bytes(2, "big") + b"c" * 100 + bytes(16384 - 126)
    whole = pages[:54] + bytes(4) + pages[58:]
    read(file("t.ibd.zst", codecs.Zstd().encode(whole)), tmp_path, decompress=True)
    assert (tmp_path / "t.ibd").read_bytes() == whole
    assert (tmp_path / "t.ibd").stat().st_blocks * 512 == 16384 + 4096


def test_compressed_data_that_end_early_are_found_at_the_end_of_the_file(tmp_path):
    data = codecs.Zstd().encode(b"pages " * 30000)
    with pytest.raises(BackupInvalid, match="cut short"):
        read(file("a.zst", data[:-5]), tmp_path, decompress=True)
    assert tree(tmp_path) == {}


def test_too_many_open_files_are_refused(tmp_path):
    stream = b"".join(chunk(f"f{i}", 0, b"x") for i in range(600))
    with pytest.raises(BackupInvalid, match="500"):
        read(stream, tmp_path)
    assert tree(tmp_path) == {}


def test_absolute_names_only_on_request(tmp_path):
    target = tmp_path / "elsewhere" / "t"
    with pytest.raises(BackupInvalid, match="absolute"):
        read(file(str(target), b"1"), tmp_path / "out")
    read(file(str(target), b"1"), tmp_path / "out", absolute_names=True)
    assert target.read_bytes() == b"1"


def test_memory_does_not_grow_with_a_chunk(tmp_path):
    import resource

    size = 300 << 20
    head = bytearray(xbstream.payload_header("big", 0, b""))
    head[-20:-12] = size.to_bytes(8, "little")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    class Zeros(io.RawIOBase):
        def __init__(self):
            self.parts = [bytes(head)] + [bytes(1 << 20)] * 100

        def read(self, _size=-1):
            return self.parts.pop(0) if self.parts else b""

    with pytest.raises(BackupInvalid):
        extract([Zeros()], str(tmp_path), durable=False, parallel=4)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60 << 10


# -- changes ---------------------------------------------------------------------------------------------------------


def changes(**fields) -> bytes:
    return msgspec.json.encode(ChangeList(**fields))


def write(directory: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)


BEFORE = {
    "db/a": b"A", "db/b.zst": b"B", "gone": b"-", "db/a.goldcopy-2": b"A2", "short": b"12345678",
    CHANGES_NAME: changes(
        removed=("gone",), renamed=(("db/a", "db/b"), ("db/b", "new/c"), ("db/a.goldcopy-2", "db/a")),
        sized=(("short", 4),),
    ),
}
AFTER = {"db/b": b"A", "new/c.zst": b"B", "db/a": b"A2", "short": b"1234"}


def test_renames_at_once_removals_and_cuts(tmp_path):
    write(tmp_path, BEFORE)
    settle(str(tmp_path))
    assert tree(tmp_path) == AFTER
    settle(str(tmp_path))
    assert tree(tmp_path) == AFTER


def until_none_is_left(steps, function):
    """The function, as often as ``steps`` allow; then the process dies."""

    def step(*args):
        if next(steps, None) is None:
            raise KeyboardInterrupt
        function(*args)

    return step


def test_settling_goes_on_wherever_it_was_interrupted(tmp_path, monkeypatch):
    from goldcopy.image import extract as module

    real = {name: getattr(module, name) for name in ("_move_in", "_unlink_in", "_cut_in")}
    for stop in range(60):
        where = tmp_path / str(stop)
        write(where, BEFORE)
        steps = iter(range(stop))
        for name, function in real.items():
            monkeypatch.setattr(module, name, until_none_is_left(steps, function))
        try:
            settle(str(where))
            finished = True
        except KeyboardInterrupt:
            finished = False
        for name, function in real.items():
            monkeypatch.setattr(module, name, function)
        settle(str(where))
        assert tree(where) == AFTER, f"interrupted at step {stop}"
        if finished:
            return
    raise AssertionError("never got to the end")


def test_a_list_that_leads_elsewhere_is_refused(tmp_path):
    (tmp_path / "up").write_bytes(b"precious")
    out = tmp_path / "out"
    for fields in ({"removed": ("../up",)}, {"renamed": (("a", "../up2"),)}, {"sized": (("/up", 0),)}):
        write(out, {"a": b"1", CHANGES_NAME: changes(**fields)})
        with pytest.raises(BackupInvalid):
            settle(str(out))
    assert tree(tmp_path)["up"] == b"precious"


# -- named pipes -----------------------------------------------------------------------------------------------------


def test_named_pipes_carry_streams_and_are_gone_afterwards(tmp_path):
    pipes = tmp_path / "pipes"
    pipes.mkdir()

    def send():
        with channel.fifo_channels(str(pipes), 2, 10) as channels:
            for i, c in enumerate(channels):
                c.write(file(f"db{i}/t", b"x" * 200000))

    writer = threading.Thread(target=send)
    writer.start()
    with channel.fifo_sources(str(pipes), 2, 10) as streams:
        extract(streams, str(tmp_path / "out"), durable=False)
    writer.join()
    assert set(tree(tmp_path / "out")) == {"db0/t", "db1/t"}
    assert os.listdir(pipes) == []


def test_pipes_that_nobody_reads_time_out_and_are_removed(tmp_path):
    with pytest.raises(TargetRefused, match="nobody reads"), channel.fifo_channels(str(tmp_path), 2, 0.1):
        pass
    assert os.listdir(tmp_path) == []


def test_a_name_that_is_taken_is_never_used_as_a_pipe(tmp_path):
    (tmp_path / "thread_1").write_bytes(b"precious")
    with pytest.raises(TargetRefused, match="thread_1"), channel.fifo_channels(str(tmp_path), 2, 0.1):
        pass
    assert tree(tmp_path) == {"thread_1": b"precious"}
    assert os.listdir(tmp_path) == ["thread_1"]


def test_pipes_that_never_come_time_out(tmp_path):
    with pytest.raises(TargetRefused, match="no pipe"), channel.fifo_sources(str(tmp_path), 1, 0.1):
        pass
