"""Files of other engines: every byte, their holes, and what may be taken from the base."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from spacefiles import listed

from goldcopy.capture.plain import PlainCopier, unchanged
from goldcopy.capture.plain_set import PlainSet
from goldcopy.formats import chunksum
from goldcopy.image.directory import DirectorySink
from goldcopy.image.manifest import Plain
from goldcopy.server.files import FileRef


@pytest.fixture
def sink(tmp_path: Path):
    with DirectorySink(str(tmp_path / "backup")) as sink:
        yield sink


def stored(sink: DirectorySink, name: str) -> Path:
    return Path(sink.directory, name)


@pytest.mark.parametrize("size", [0, 1, 4096, (1 << 20) - 1, 1 << 20, (3 << 20) + 1234])
def test_a_plain_file_arrives_byte_for_byte_with_its_sums(tmp_path, sink, size):
    path = tmp_path / "t.MYD"
    path.write_bytes(os.urandom(size))
    record = PlainCopier(sink).copy(listed(path, "db/t.MYD"))
    data = path.read_bytes()
    assert stored(sink, "db/t.MYD").read_bytes() == data
    assert record.sums == chunksum.encode(
        chunksum.chunk_sum(data[i : i + chunksum.CHUNK]) for i in range(0, size, chunksum.CHUNK)
    )
    assert (record.path, record.size, record.stored) == ("db/t.MYD", size, "file")
    assert record.mode == path.stat().st_mode & 0o7777


def test_holes_of_a_plain_file_stay_holes(tmp_path, sink):
    path = tmp_path / "t.MYD"
    with path.open("wb") as f:
        f.write(b"a" * 5000)
        f.seek(9 << 20)
        f.write(b"b" * 5000)
        f.truncate(20 << 20)
    PlainCopier(sink).copy(listed(path))
    out = stored(sink, "t.MYD")
    assert out.read_bytes() == path.read_bytes()
    assert out.stat().st_blocks * 512 < 1 << 20


def test_a_file_changed_since_its_first_copy_is_replaced(tmp_path, sink):
    path = tmp_path / "t.CSV"
    plain = PlainSet(PlainCopier(sink), None, 0)
    for content in (b"old", b"newer", b"newest"):
        path.write_bytes(content)
        assert plain.copy([listed(path)], [], lambda: False) == 1
        assert stored(sink, "t.CSV").read_bytes() == content
        assert [record.size for record in plain.records()] == [len(content)]
    path.unlink()
    assert plain.copy([], [], lambda: False) == 0
    assert not stored(sink, "t.CSV").exists()
    assert not plain.records()


def test_a_dropped_file_leaves_the_backup(tmp_path, sink):
    path = tmp_path / "t.CSV"
    path.write_bytes(b"x")
    copier = PlainCopier(sink)
    gone = listed(path)
    record = copier.copy(gone)
    path.unlink()
    copier.remove(record)
    assert not stored(sink, "t.CSV").exists()
    assert copier.copy(gone) is None


def test_an_empty_database_exists_in_the_backup(sink):
    record = PlainCopier(sink).make_dir("empty")
    assert stored(sink, "empty").is_dir()
    assert record.stored == "dir"


def base_record(**changes) -> Plain:
    fields = {"path": "t.MYD", "size": 5, "identity": "1.2.3", "mtime_ns": 10**18, "ctime_ns": 10**18}
    return Plain(**(fields | changes))


STARTED_NS = 10**18 + 3 * 10**9


def test_a_file_untouched_since_before_the_base_comes_from_the_base():
    for stored_as in ("file", "base"):
        assert unchanged(base_record_as_file(), base_record(stored=stored_as), STARTED_NS)


def base_record_as_file():
    return FileRef("t.MYD", "", "", 5, "1.2.3", 10**18, 10**18, 0o660)


@pytest.mark.parametrize("field", ["size", "identity", "mtime_ns", "ctime_ns"])
def test_any_sign_of_change_means_a_copy(field):
    other = "9.9.9" if field == "identity" else 6
    assert not unchanged(base_record_as_file(), base_record(**{field: other}), STARTED_NS)


def test_a_file_changed_just_before_the_base_began_is_copied_again():
    assert not unchanged(base_record_as_file(), base_record(), 10**18 + 10**9)


def test_a_file_taken_from_the_base_takes_no_room(tmp_path, sink):
    path = tmp_path / "t.MYD"
    path.write_bytes(b"hello")
    copier = PlainCopier(sink)
    file = listed(path)
    record = copier.from_base(file, base_record(sums="abcd"))
    assert (record.stored, record.sums) == ("base", "abcd")
    assert not stored(sink, "t.MYD").exists()
