"""A backup's directory: nothing outside it is touched, nothing half-made in it looks whole."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from goldcopy.errors import NoSpace, TargetRefused
from goldcopy.formats import chunksum
from goldcopy.formats.innodb.page import geometry
from goldcopy.image.directory import DirectorySink
from goldcopy.image.manifest import MANIFEST_NAME
from lab.manifests import manifest, stored

MIB = 1 << 20
PAGE_0 = bytes(38) + (7).to_bytes(4, "big") + bytes(12) + (0x15).to_bytes(4, "big") + bytes(10)


@pytest.fixture
def sink(tmp_path: Path):
    with DirectorySink(str(tmp_path / "backup")) as sink:
        yield sink


def put(sink: DirectorySink, path: str, data: bytes) -> str:
    out = sink.put_file(path)
    out.write(data)
    return out.finish()


def put_whole(sink: DirectorySink, path: str, data: bytes, size: int | None = None) -> str:
    out = sink.open_whole(path, size=len(data), page_size=16384)
    for at in range(0, len(data), MIB):
        out.write_at(at, memoryview(data[at : at + MIB]))
    return out.finish(len(data) if size is None else size)


def put_delta(sink: DirectorySink, path: str) -> str:
    out = sink.open_delta(path, geometry=geometry(PAGE_0, "mariadb"))
    out.write_pages([3], [memoryview(bytes(16384))])
    return out.finish()


def everything_below(path: Path) -> list[str]:
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


def test_a_directory_that_holds_anything_is_refused_untouched(tmp_path):
    (tmp_path / "keep").write_text("precious")
    with pytest.raises(TargetRefused) as e:
        DirectorySink(str(tmp_path))
    assert e.value.hint
    assert everything_below(tmp_path) == ["keep"]


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "file").write_text("precious")
    for path in ("file", "file/backup"):
        with pytest.raises(TargetRefused):
            DirectorySink(str(tmp_path / path))
    assert (tmp_path / "file").read_text() == "precious"


def test_a_fresh_file_system_with_lost_and_found_is_empty(tmp_path):
    (tmp_path / "lost+found").mkdir()
    with DirectorySink(str(tmp_path)):
        pass
    assert everything_below(tmp_path) == ["lost+found"]


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a//x", "./x", "", "a/", "a\0b", ".."])
def test_no_path_leads_out_of_the_directory(tmp_path, sink, path):
    with pytest.raises(ValueError):
        sink.put_file(path)
    with pytest.raises(ValueError):
        sink.open_whole(path, size=0, page_size=0)
    with pytest.raises(ValueError):
        sink.make_dir(path)
    assert everything_below(tmp_path) == ["backup"]


def test_only_the_owner_and_group_may_read_a_backup(tmp_path, sink):
    old = os.umask(0)
    try:
        put(sink, "db/t.frm", b"x")
        put_whole(sink, "db/t.ibd", bytes(2 * MIB))
    finally:
        os.umask(old)
    modes = {p.name: oct(p.stat().st_mode & 0o7777) for p in Path(sink.directory).rglob("*")}
    assert modes == {"db": "0o750", "t.frm": "0o640", "t.ibd": "0o640"}


def test_a_file_is_never_written_over(sink):
    put(sink, "a", b"one")
    with pytest.raises(TargetRefused):
        sink.put_file("a")
    assert Path(sink.directory, "a").read_bytes() == b"one"


def test_leaving_without_commit_removes_what_was_written_and_nothing_else(tmp_path):
    with DirectorySink(str(tmp_path / "backup")) as sink:
        put(sink, "db/a.frm", b"x")
        put_whole(sink, "db/t.ibd", bytes(MIB + 5))
        put_delta(sink, "db/u.ibd")
        sink.make_dir("empty")
        sink.open_whole("db/half.ibd", size=3 * MIB, page_size=16384)
        Path(sink.directory, "db/stranger").write_text("not ours")
    assert everything_below(tmp_path) == ["backup", "backup/db", "backup/db/stranger"]


def test_a_directory_that_was_there_before_stays(tmp_path):
    with DirectorySink(str(tmp_path)) as sink:
        put(sink, "db/a.frm", b"x")
    assert everything_below(tmp_path) == []
    assert tmp_path.exists()


def test_the_manifest_makes_it_a_backup(tmp_path):
    with DirectorySink(str(tmp_path / "b")) as sink:
        put(sink, "a", b"x")
        sink.sync()
        assert not Path(sink.directory, MANIFEST_NAME).exists()
        sink.commit(manifest())
    assert Path(sink.directory, MANIFEST_NAME).read_bytes() == stored(manifest())
    assert everything_below(tmp_path / "b") == ["a", MANIFEST_NAME]


def test_a_space_is_renamed_and_removed_with_all_its_parts(sink):
    put_delta(sink, "db1/t.ibd")
    put_whole(sink, "db1/u.ibd", b"x" * 16384)
    sink.rename_space("db1/t.ibd", "db2/s.ibd")
    sink.rename_space("db1/u.ibd", "u2.ibd")
    assert everything_below(Path(sink.directory)) == ["db2", "db2/s.ibd.delta", "db2/s.ibd.meta", "u2.ibd"]
    sink.remove_space("db2/s.ibd")
    sink.remove_space("never/was.ibd")
    assert everything_below(Path(sink.directory)) == ["u2.ibd"]
    put_delta(sink, "db1/t.ibd")
    with pytest.raises(ValueError):
        sink.rename_space("db1/t.ibd", "u2.ibd")


def test_a_whole_file_that_shrank_is_cut_and_its_sums_are_those_of_the_rest(sink):
    data = os.urandom(3 * MIB)
    sums = put_whole(sink, "undo001", data, size=MIB + 16384)
    kept = data[: MIB + 16384]
    assert Path(sink.directory, "undo001").read_bytes() == kept
    assert chunksum.decode(sums) == [chunksum.chunk_sum(kept[:MIB]), chunksum.chunk_sum(kept[MIB:])]


def test_a_size_that_direct_writes_cannot_take_is_kept_to_the_byte(sink):
    data = os.urandom(2 * MIB + 4096 + 1024)
    put_whole(sink, "t.ibd", data)
    assert Path(sink.directory, "t.ibd").read_bytes() == data


def test_holes_of_a_plain_file_cost_no_room_and_count_as_zeros(sink):
    out = sink.put_file("t.MYD")
    out.write(b"x" * 5000)
    out.hole(10 * MIB)
    out.write(b"y")
    out.hole(3 * MIB)
    sums = out.finish()
    data = b"x" * 5000 + bytes(10 * MIB) + b"y" + bytes(3 * MIB)
    path = Path(sink.directory, "t.MYD")
    assert path.read_bytes() == data
    assert out.size == len(data)
    assert path.stat().st_blocks * 512 < MIB
    assert chunksum.decode(sums) == [chunksum.chunk_sum(data[i : i + MIB]) for i in range(0, len(data), MIB)]


def test_the_base_is_remembered_relative_to_its_sibling_only(tmp_path):
    with DirectorySink(str(tmp_path / "inc")) as sink:
        assert sink.relative(str(tmp_path / "full")) == "../full"
        assert sink.relative("/elsewhere/full") == "/elsewhere/full"


@pytest.fixture
def tiny(tmp_path):
    """A file system of 4 MiB."""
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = os.geteuid() == 0 and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "goldcopy-test", str(place)], check=False, capture_output=True
    ).returncode
    if not mounted:
        pytest.skip("mounting a small tmpfs needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_told_and_what_was_written_is_removed(tiny):
    with pytest.raises(NoSpace) as e, DirectorySink(str(tiny / "b")) as sink:
        put_whole(sink, "a.ibd", os.urandom(2 * MIB))
        put_whole(sink, "b.ibd", os.urandom(4 * MIB))
    assert e.value.hint
    assert everything_below(tiny) == []


def test_a_full_disk_is_told_for_plain_files_and_increments_as_well(tiny):
    for write in (lambda s: put(s, "a", os.urandom(5 * MIB)), lambda s: [put_delta(s, f"t{i}") for i in range(500)]):
        with pytest.raises(NoSpace), DirectorySink(str(tiny / "b")) as sink:
            write(sink)
        assert everything_below(tiny) == []


@pytest.mark.parametrize("refused_at", ["open", "write"])
def test_a_file_system_without_direct_writes_is_written_all_the_same(sink, monkeypatch, refused_at):
    real_open, real_pwrite = os.open, os.pwrite
    direct_fds = set()

    def fake_open(path, flags, *rest, **named):
        if flags & os.O_DIRECT and refused_at == "open":
            raise OSError(errno.EINVAL, "no direct I/O here")
        fd = real_open(path, flags, *rest, **named)
        if flags & os.O_DIRECT:
            direct_fds.add(fd)
        return fd

    def fake_pwrite(fd, data, offset):
        if fd in direct_fds:
            raise OSError(errno.EINVAL, "no direct I/O here")
        return real_pwrite(fd, data, offset)

    data = os.urandom(2 * MIB + 77)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fake_open)
        patch.setattr(os, "pwrite", fake_pwrite)
        put_whole(sink, "t.ibd", data)
    assert Path(sink.directory, "t.ibd").read_bytes() == data
    assert bool(direct_fds) == (refused_at == "write")
