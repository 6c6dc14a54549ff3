"""What a user would lose if the copier were wrong: rows, silently, months later."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spacefiles import Kind, listed, overwrite, write_space

from goldcopy.capture import copy_space
from goldcopy.capture.copier import CHUNK_BYTES, SpaceCopier
from goldcopy.capture.copy_source import Source
from goldcopy.capture.copy_space import Base, SpaceJob, SpaceResult, imported_since
from goldcopy.capture.throttle import Throttle
from goldcopy.errors import Interrupted, PageCorrupt
from goldcopy.formats import Lsn, chunksum
from goldcopy.formats.delta import parse_meta, read_header
from goldcopy.image.directory import DirectorySink
from goldcopy.image.osfile import PageCache
from goldcopy.server.files import FileRef

FULL, CRC = Kind("full"), Kind("crc32")


@pytest.fixture
def sink(tmp_path: Path):
    with DirectorySink(str(tmp_path / "backup")) as sink:
        yield sink


def copy(sink: DirectorySink, *files: FileRef, family: str = "mariadb", base: Base | None = None, **options):
    return run(SpaceCopier(sink, family=family, **options), *(SpaceJob(f, base) for f in files))


def run(copier: SpaceCopier, *jobs: SpaceJob) -> list[SpaceResult]:
    results: list[SpaceResult] = []
    copier.copy(jobs, results.append)
    return results


def stored(sink: DirectorySink, name: str) -> bytes:
    return Path(sink.directory, name).read_bytes()


def whole_sums(data: bytes) -> str:
    return chunksum.encode(
        chunksum.chunk_sum(data[i : i + chunksum.CHUNK]) for i in range(0, len(data), chunksum.CHUNK)
    )


def delta_pages(data: bytes, page_size: int) -> dict[int, bytes]:
    found, at, last = {}, 0, False
    while not last:
        numbers, last = read_header(data[at : at + page_size], page_size)
        at += page_size
        for number in numbers:
            found[number] = data[at : at + page_size]
            at += page_size
    return found


def identity_of(sink_root: Path, file: FileRef) -> str:
    with DirectorySink(str(sink_root / "probe")) as probe:
        return copy(probe, file)[0].identity


def base_of(result: SpaceResult, since: int) -> Base:
    return Base(Lsn(since), {(result.space_id, result.identity)})


# -- whole files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [FULL, CRC, Kind("zip", 1024), Kind("zip", 8192), Kind("full", 4096),
                                  Kind("full", 65536), Kind("crc32", 32768)], ids=str)
def test_a_full_copy_holds_every_byte_and_says_what_it_is(tmp_path, sink, kind):
    pages = (CHUNK_BYTES + (1 << 20)) // kind.page_size + 3
    file = write_space(tmp_path / "t.ibd", kind, pages, space_id=9)
    [r] = copy(sink, file, family=kind.family)
    data = Path(file.source).read_bytes()
    assert stored(sink, "t.ibd") == data
    assert r.sums == whole_sums(data)
    assert (r.space_id, r.page_size, r.size, r.stored) == (9, kind.page_size, len(data), "full")
    assert (r.pages_stored, r.flags, r.corrupt, r.suspect, r.torn_rereads) == (pages, kind.flags, (), False, 0)
    assert r.zip_size == (kind.page_size if kind.name == "zip" else 0)


def test_every_job_has_its_own_result_whatever_the_order_of_work(tmp_path, sink):
    files = [write_space(tmp_path / f"t{i}.ibd", FULL, 4 + 90 * (i % 3), space_id=i + 1) for i in range(12)]
    results = copy(sink, *files, threads=4)
    assert {r.path: r.space_id for r in results} == {f.path: n for n, f in enumerate(files, 1)}
    assert len(results) == len(files)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from([FULL, CRC, Kind("zip", 1024), Kind("zip", 2048), Kind("full", 4096)]),
    pages=st.integers(1, 700), tail=st.integers(0, 1000), threads=st.integers(1, 5),
)
def test_any_size_and_geometry_arrives_byte_for_byte(tmp_path_factory, kind, pages, tail, threads):
    tmp_path = tmp_path_factory.mktemp("any")
    file = write_space(tmp_path / "t.ibd", kind, pages)
    with open(file.source, "ab") as f:
        f.write(b"\1" * tail)
    with DirectorySink(str(tmp_path / "b")) as sink:
        [r] = copy(sink, listed(Path(file.source)), family=kind.family, threads=threads)
        data = Path(file.source).read_bytes()
        assert stored(sink, "t.ibd") == data
        assert r.sums == whole_sums(data)


# -- torn and corrupt pages -------------------------------------------------------------------------------------


class FakeTornSource(Source):
    """A file of which some reads return a page half old, half new."""

    torn_reads: dict[int, int] = {}
    page_size = 16384
    lock = threading.Lock()

    def read(self, view, offset, cache):
        got = super().read(view, offset, cache)
        for page, left in self.torn_reads.items():
            at = page * self.page_size - offset
            if left and 0 <= at < got:
                with self.lock:
                    self.torn_reads[page] -= 1
                view[at + 512 : at + 600] = bytes(88)
        return got


@pytest.mark.parametrize("kind", [FULL, CRC, Kind("zip", 1024)], ids=str)
def test_a_page_caught_while_the_server_writes_it_is_read_again(tmp_path, sink, monkeypatch, kind):
    file = write_space(tmp_path / "t.ibd", kind, 3 << 20 >> 10)
    monkeypatch.setattr(FakeTornSource, "torn_reads", {5: 3, 129: 1, 2000: 6})
    monkeypatch.setattr(FakeTornSource, "page_size", kind.page_size)
    monkeypatch.setattr(copy_space, "Source", FakeTornSource)
    [r] = copy(sink, file, family=kind.family)
    assert stored(sink, "t.ibd") == Path(file.source).read_bytes()
    assert r.corrupt == ()
    assert r.torn_rereads >= 3 + 1 + 6 - 3


def test_a_write_that_takes_its_time_is_waited_for(tmp_path, sink):
    file = write_space(tmp_path / "t.ibd", FULL, 100)
    new = FULL.page(70, 7, 2000)
    overwrite(file.source, 70 * 16384, new[:4096])

    def rest() -> None:
        time.sleep(0.15)
        overwrite(file.source, 70 * 16384 + 4096, new[4096:])

    writer = threading.Thread(target=rest)
    writer.start()
    [r] = copy(sink, file)
    writer.join()
    assert stored(sink, "t.ibd")[70 * 16384 : 71 * 16384] == new
    assert r.torn_rereads > 10


def rot(file: FileRef, page: int, page_size: int = 16384) -> None:
    overwrite(file.source, page * page_size + 3000, b"rotten bytes")


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("goldcopy.capture.copy_check.TORN_PAUSES_S", (0.001,) * 4)
    monkeypatch.setattr("goldcopy.capture.copy_check.STEADY_PAUSES_S", (0.001,) * 4)


def test_a_corrupt_page_stops_the_backup_and_is_named(tmp_path, sink, impatient):
    file = write_space(tmp_path / "t.ibd", FULL, 200)
    rot(file, 131)
    with pytest.raises(PageCorrupt) as e:
        copy(sink, file)
    assert file.source in e.value.message
    assert "page 131 " in e.value.message
    assert str(131 * 16384) in e.value.message
    assert e.value.hint
    assert not Path(sink.directory, "t.ibd").exists()


def test_corrupt_pages_are_listed_when_the_user_asked_to_go_on(tmp_path, sink, impatient):
    file = write_space(tmp_path / "t.ibd", FULL, 200)
    rot(file, 3)
    rot(file, 131)
    [r] = copy(sink, file, on_corrupt="list")
    assert r.corrupt == (3, 131)
    assert stored(sink, "t.ibd") == Path(file.source).read_bytes()


def test_a_senseless_page_0_is_corrupt_and_not_a_guess(tmp_path, sink, impatient):
    file = write_space(tmp_path / "t.ibd", FULL, 80)
    overwrite(file.source, 54, b"\xff\xff\xff\xff")
    with pytest.raises(PageCorrupt, match="page 0 at byte offset 0 "):
        copy(sink, file)
    [r] = copy(sink, file, on_corrupt="list")
    assert r.corrupt == (0,)
    assert stored(sink, "t.ibd") == Path(file.source).read_bytes()


def test_pages_that_were_never_written_are_right(tmp_path, sink):
    file = write_space(tmp_path / "t.ibd", FULL, 100)
    overwrite(file.source, 50 * 16384, bytes(20 * 16384))
    [r] = copy(sink, file)
    assert (r.corrupt, r.torn_rereads, r.suspect) == ((), 0, False)


# -- pages without a sum ----------------------------------------------------------------------------------------


def encrypted(number: int, seed: int = 0) -> bytes:
    return CRC.page(number, 7, 1000, seed, page_type=15)[:-8] + os.urandom(8)


def test_pages_without_a_sum_are_read_until_two_reads_agree(tmp_path, sink, monkeypatch):
    file = write_space(tmp_path / "t.ibd", CRC, 100)
    for number in range(1, 100):
        overwrite(file.source, number * 16384, encrypted(number))
    monkeypatch.setattr(FakeTornSource, "torn_reads", {5: 1, 80: 1})
    monkeypatch.setattr(FakeTornSource, "page_size", 16384)
    monkeypatch.setattr(copy_space, "Source", FakeTornSource)
    [r] = copy(sink, file, family="mysql")
    assert r.unverifiable == 99
    assert r.torn_rereads == 2
    assert stored(sink, "t.ibd") == Path(file.source).read_bytes()


def test_a_page_without_a_sum_that_never_stands_still_is_not_taken_for_whole(tmp_path, sink, monkeypatch, impatient):
    file = write_space(tmp_path / "t.ibd", CRC, 10)
    overwrite(file.source, 4 * 16384, encrypted(4))

    class FakeRestless(Source):
        count = 0

        def read(self, view, offset, cache):
            got = super().read(view, offset, cache)
            at = 4 * 16384 - offset
            if 0 <= at < got:
                FakeRestless.count += 1
                view[at + 100] = FakeRestless.count & 255
            return got

    monkeypatch.setattr(copy_space, "Source", FakeRestless)
    with pytest.raises(PageCorrupt, match="page 4 "):
        copy(sink, file, family="mysql")


# -- increments -------------------------------------------------------------------------------------------------


def test_an_increment_holds_exactly_the_pages_since_the_base(tmp_path, sink):
    changed = {0: 5000, 63: 5001, 64: 7000, 199: 5000, 150: 4999}
    file = write_space(tmp_path / "t.ibd", FULL, 200, lsns=changed)
    [full] = copy(sink, file)
    with DirectorySink(str(tmp_path / "inc")) as inc:
        [r] = copy(inc, file, base=base_of(full, 5000))
        data = stored(inc, "t.ibd.delta")
        source = Path(file.source).read_bytes()
        assert (r.stored, r.pages_stored, r.size) == ("delta", 4, len(source))
        found = delta_pages(data, 16384)
        assert list(found) == [0, 63, 64, 199]
        assert all(page == source[n * 16384 : (n + 1) * 16384] for n, page in found.items())
        assert r.sums == whole_sums(data)
        assert parse_meta(stored(inc, "t.ibd.meta").decode()).space_id == 7
        assert not Path(inc.directory, "t.ibd").exists()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changed=st.sets(st.integers(0, 699)), threads=st.integers(1, 4),
       kind=st.sampled_from([FULL, Kind("zip", 1024), Kind("full", 4096)]))
def test_the_base_with_the_increment_laid_over_it_is_the_file(tmp_path_factory, changed, threads, kind):
    tmp_path = tmp_path_factory.mktemp("delta")
    file = write_space(tmp_path / "t.ibd", kind, 700)
    with DirectorySink(str(tmp_path / "b")) as sink, DirectorySink(str(tmp_path / "i")) as inc:
        [full] = copy(sink, file, family=kind.family)
        for n in changed:
            overwrite(file.source, n * kind.page_size, kind.page(n, 7, 2000))
        [r] = copy(inc, file, family=kind.family, base=base_of(full, 2000), threads=threads)
        image = bytearray(stored(sink, "t.ibd"))
        for n, page in delta_pages(stored(inc, "t.ibd.delta"), kind.page_size).items():
            image[n * kind.page_size : (n + 1) * kind.page_size] = page
        assert image == Path(file.source).read_bytes()
        assert r.pages_stored == len(changed)


def test_an_increment_out_of_the_page_cache_reads_only_what_changed(tmp_path, sink, monkeypatch):
    file = write_space(tmp_path / "t.ibd", FULL, 1000, lsns={300: 6000, 999: 6000})
    with open(file.source, "rb") as f:
        size = len(f.read())
        if PageCache().cached_bytes(f.fileno(), 0, size) != size:
            pytest.skip("this kernel or file system does not tell what is cached")
    [full] = copy(sink, file)
    reads: list[tuple[int, int]] = []

    class FakeCounted(Source):
        def read(self, view, offset, cache):
            reads.append((offset // 16384, len(view)))
            return super().read(view, offset, cache)

    monkeypatch.setattr(copy_space, "Source", FakeCounted)
    with DirectorySink(str(tmp_path / "inc")) as inc:
        [r] = copy(inc, file, base=base_of(full, 6000), threads=1)
        found = delta_pages(stored(inc, "t.ibd.delta"), 16384)
    source = Path(file.source).read_bytes()
    assert {n: page == source[n * 16384 : (n + 1) * 16384] for n, page in found.items()} == {300: True, 999: True}
    assert reads == [(0, CHUNK_BYTES), (300, 16384), (999, 16384)]


def test_a_file_cut_while_an_increment_looks_at_it_is_what_was_left_of_it(tmp_path, sink, monkeypatch):
    file = write_space(tmp_path / "undo001", FULL, 1000, lsns={999: 6000})
    [full] = copy(sink, file)

    class FakeCut(Source):
        def read_heads(self, *args):
            os.truncate(self.path, 600 * 16384)
            return super().read_heads(*args)

    monkeypatch.setattr(copy_space, "Source", FakeCut)
    with DirectorySink(str(tmp_path / "inc")) as inc:
        [r] = copy(inc, file, base=base_of(full, 6000))
    assert (r.size, r.shrunk, r.pages_stored) == (600 * 16384, True, 0)


def test_a_tablespace_of_another_identity_or_id_is_copied_whole(tmp_path, sink):
    file = write_space(tmp_path / "t.ibd", FULL, 100)
    [full] = copy(sink, file)
    for n, known in enumerate([{(7, "other")}, {(8, full.identity)}, set()]):
        with DirectorySink(str(tmp_path / f"inc{n}")) as inc:
            [r] = copy(inc, file, base=Base(Lsn(5000), known))
            assert r.stored == "full"
            assert stored(inc, "t.ibd") == Path(file.source).read_bytes()


def test_a_name_behind_which_nothing_fits_is_copied_whole(tmp_path, sink):
    name = "@8868" * 50 + ".ibd"
    file = write_space(tmp_path / name, FULL, 100)
    for base in (Base(Lsn(2000), None), Base(Lsn(2000), set(), always_delta=True)):
        with DirectorySink(str(tmp_path / f"inc{base.always_delta}")) as inc:
            [r] = copy(inc, file, base=base)
            assert r.stored == "full"
            assert stored(inc, name) == Path(file.source).read_bytes()


def test_by_an_lsn_alone_a_delta_of_all_that_was_ever_written_needs_no_base(tmp_path, sink):
    """Else a table made since the base could not be laid down: nobody has the pages of it that are still zeros."""
    file = write_space(tmp_path / "t.ibd", FULL, 300, lsn=3000)
    for n in (250, 299):
        overwrite(file.source, n * FULL.page_size, bytes(FULL.page_size))
    [r] = copy(sink, file, base=Base(Lsn(2000), None))
    assert (r.stored, r.complete, r.pages_stored) == ("delta", True, 298)


def test_by_an_lsn_alone_a_delta_that_leaves_out_one_old_page_needs_its_base(tmp_path, sink):
    file = write_space(tmp_path / "t.ibd", FULL, 300, lsn=3000)
    overwrite(file.source, 299 * FULL.page_size, FULL.page(299, 7, 1999))
    [r] = copy(sink, file, base=Base(Lsn(2000), None))
    assert (r.stored, r.complete, r.pages_stored) == ("delta", False, 299)


def test_a_table_swapped_by_rename_after_the_listing_is_judged_by_the_file_that_is_read(tmp_path, sink):
    a = write_space(tmp_path / "a.ibd", FULL, 100, space_id=1)
    [full] = copy(sink, a)
    write_space(tmp_path / "b.ibd", FULL, 120, space_id=2)
    os.rename(tmp_path / "b.ibd", tmp_path / "a.ibd")
    with DirectorySink(str(tmp_path / "inc")) as inc:
        [r] = copy(inc, a, base=base_of(full, 5000))
        assert (r.stored, r.space_id, r.size) == ("full", 2, 120 * 16384)
        assert r.identity != full.identity


def test_a_corrupt_page_that_did_not_change_is_the_base_s_business(tmp_path, sink, impatient):
    file = write_space(tmp_path / "t.ibd", FULL, 100, lsns={9: 6000})
    [full] = copy(sink, file)
    rot(file, 50)
    with DirectorySink(str(tmp_path / "inc")) as inc:
        assert copy(inc, file, base=base_of(full, 6000))[0].pages_stored == 1
    rot(file, 9)
    with DirectorySink(str(tmp_path / "inc2")) as inc, pytest.raises(PageCorrupt, match="page 9 "):
        copy(inc, file, base=base_of(full, 6000))


# -- the system tablespace --------------------------------------------------------------------------------------


def system_space(path: Path, extent: int) -> FileRef:
    file = write_space(path, CRC, 400, space_id=0)
    page = bytearray(CRC.page(5, 0, 1000))
    for at, value in ((10, 536853855), (14, extent), (18, extent + 64)):
        page[16384 - 200 + at : 16384 - 196 + at] = value.to_bytes(4, "big")
    overwrite(file.source, 5 * 16384, CRC.sealed(page))
    return file


def test_doublewrite_extents_are_neither_verified_nor_part_of_an_increment(tmp_path, sink):
    file = system_space(tmp_path / "ibdata1", 64)
    for n in range(64, 192):
        overwrite(file.source, n * 16384, os.urandom(16384))
    overwrite(file.source, 192 * 16384, CRC.page(192, 0, 9000))
    [full] = copy(sink, file, family="mysql")
    assert (full.corrupt, full.torn_rereads, full.stored) == ((), 0, "full")
    assert stored(sink, "ibdata1") == Path(file.source).read_bytes()
    with DirectorySink(str(tmp_path / "inc")) as inc:
        copy(inc, file, family="mysql", base=base_of(full, 9000))
        assert list(delta_pages(stored(inc, "ibdata1.delta"), 16384)) == [192]


def test_a_second_file_of_the_system_tablespace_is_read_by_what_the_first_one_says(tmp_path, sink):
    head = system_space(tmp_path / "ibdata1", 500)
    second = tmp_path / "ibdata2"
    with second.open("wb") as f:
        for number in range(400, 700):
            f.write(os.urandom(16384) if 500 <= number < 628 else CRC.page(number, 0, 1000))
    [r] = run(SpaceCopier(sink, family="mysql"), SpaceJob(listed(second), None, head))
    assert (r.space_id, r.page_size, r.corrupt, r.stored) == (0, 16384, (), "full")
    assert stored(sink, "ibdata2") == second.read_bytes()


# -- files that come, go, grow and shrink -----------------------------------------------------------------------


def test_a_mariadb_tablespace_whose_page_0_recovery_will_write_is_copied_raw_at_once(tmp_path, sink):
    path = tmp_path / "t.ibd"
    path.write_bytes(bytes(16384) + FULL.page(1, 7, 900) + b"half of a page is torn" * 1000)
    started = time.monotonic()
    [r] = copy(sink, listed(path))
    assert (r.stored, r.corrupt) == ("raw", ())
    assert stored(sink, "t.ibd") == path.read_bytes()
    assert time.monotonic() - started < 0.5


def test_an_empty_tablespace_file_is_copied_raw(tmp_path, sink):
    path = tmp_path / "t.ibd"
    path.touch()
    [r] = copy(sink, listed(path))
    assert (r.stored, r.size, r.sums) == ("raw", 0, "")
    assert stored(sink, "t.ibd") == b""


def test_mysql_is_given_the_moment_it_needs_to_write_page_0(tmp_path, sink):
    path = tmp_path / "t.ibd"
    path.touch()
    file = listed(path)

    def create() -> None:
        time.sleep(0.1)
        write_space(tmp_path / "new", CRC, 7, space_id=12)
        overwrite(path, 0, (tmp_path / "new").read_bytes())

    server = threading.Thread(target=create)
    server.start()
    [r] = copy(sink, file, family="mysql")
    server.join()
    assert (r.stored, r.space_id) == ("full", 12)
    assert stored(sink, "t.ibd") == path.read_bytes()


def test_a_file_dropped_before_it_was_opened_is_no_error(tmp_path, sink):
    here = write_space(tmp_path / "t.ibd", FULL, 3)
    gone = FileRef("gone.ibd", str(tmp_path), "", 16384, "", 0, 0, 0)
    results = copy(sink, gone, here)
    assert {r.path: r.vanished for r in results} == {"gone.ibd": True, "t.ibd": False}
    assert not Path(sink.directory, "gone.ibd").exists()


class FakeTruncated(Source):
    """A file that is cut (undo truncation) after its first chunk was read."""

    cut_to = 0

    def read(self, view, offset, cache):
        got = super().read(view, offset, cache)
        if offset == 0:
            os.truncate(self.path, self.cut_to)
        return got


@pytest.mark.parametrize("cut_to", [CHUNK_BYTES + 100 * 16384, 2 * CHUNK_BYTES, CHUNK_BYTES + 6 * 16384])
def test_an_undo_tablespace_truncated_while_copied_is_what_was_left_of_it(tmp_path, sink, monkeypatch, cut_to):
    file = write_space(tmp_path / "undo001", FULL, 1000)
    monkeypatch.setattr(FakeTruncated, "cut_to", cut_to)
    monkeypatch.setattr(copy_space, "Source", FakeTruncated)
    [r] = copy(sink, file)
    data = Path(file.source).read_bytes()
    assert (r.size, r.shrunk) == (cut_to, True)
    assert stored(sink, "undo001") == data
    assert r.sums == whole_sums(data)


def test_growth_meanwhile_is_left_to_the_redo(tmp_path, sink, monkeypatch):
    file = write_space(tmp_path / "t.ibd", FULL, 100)

    class FakeGrowing(Source):
        def read(self, view, offset, cache):
            with open(self.path, "ab") as f:
                f.write(bytes(16384 * 3))
            return super().read(view, offset, cache)

    monkeypatch.setattr(copy_space, "Source", FakeGrowing)
    [r] = copy(sink, file)
    assert (r.size, r.pages_stored, r.shrunk) == (100 * 16384, 100, False)
    assert len(stored(sink, "t.ibd")) == 100 * 16384


def imported(file: FileRef, pages: int, space_id: int = 7) -> None:
    """What IMPORT TABLESPACE leaves: the same file, LSN 0 on its pages."""
    for n in range(pages):
        overwrite(file.source, n * 16384, FULL.page(n, space_id, 0, seed=1))


def test_a_table_that_an_import_is_rewriting_is_suspect(tmp_path, sink):
    file = write_space(tmp_path / "t.ibd", FULL, 200)
    imported(file, 90)
    [r] = copy(sink, file)
    assert r.suspect


@pytest.mark.parametrize("space_id", [7, 8])
def test_a_table_imported_after_it_was_copied_is_noticed(tmp_path, sink, space_id):
    file = write_space(tmp_path / "t.ibd", FULL, 200)
    [r] = copy(sink, file)
    assert not r.suspect
    assert not imported_since(r, file.source)
    imported(file, 200, space_id)
    assert imported_since(r, file.source)
    overwrite(file.source, 0, FULL.page(0, space_id, 9999))
    overwrite(file.source, 3 * 16384, FULL.page(3, space_id, 9999))
    assert imported_since(r, file.source)


def test_a_table_imported_long_ago_is_not_taken_for_one_imported_now(tmp_path, sink):
    file = write_space(tmp_path / "t.ibd", FULL, 200)
    imported(file, 200)
    overwrite(file.source, 3 * 16384, FULL.page(3, 7, 5000))
    [r] = copy(sink, file)
    overwrite(file.source, 1 * 16384, FULL.page(1, 7, 6000))
    assert not r.suspect
    assert not imported_since(r, file.source)
    os.unlink(file.source)
    assert not imported_since(r, file.source)


# -- holes ------------------------------------------------------------------------------------------------------


def test_holes_stay_holes(tmp_path, sink):
    path = tmp_path / "t.ibd"
    write_space(path, FULL, 80)
    os.truncate(path, 40 << 20)
    overwrite(path, 20 << 20, FULL.page((20 << 20) // 16384, 7, 1000))
    [r] = copy(sink, listed(path))
    out = Path(sink.directory, "t.ibd")
    assert out.read_bytes() == path.read_bytes()
    assert r.sums == whole_sums(path.read_bytes())
    assert out.stat().st_blocks * 512 < 3 << 20


def test_what_lies_beyond_4_gib_is_copied_to_where_it_lay(tmp_path, sink):
    path, far = tmp_path / "t.ibd", (5 << 30) // 16384
    write_space(path, FULL, 80)
    os.truncate(path, (5 << 30) + (1 << 20))
    overwrite(path, far * 16384, FULL.page(far, 7, 2000))
    [full] = copy(sink, listed(path))
    with Path(sink.directory, "t.ibd").open("rb") as out:
        out.seek(far * 16384)
        assert out.read() == FULL.page(far, 7, 2000) + bytes((1 << 20) - 16384)
    with DirectorySink(str(tmp_path / "inc")) as inc:
        copy(inc, listed(path), base=base_of(full, 2000))
        assert delta_pages(stored(inc, "t.ibd.delta"), 16384) == {far: FULL.page(far, 7, 2000)}


def test_punched_pages_keep_their_room(tmp_path, sink):
    path = tmp_path / "t.ibd"
    kind = Kind("full")
    with path.open("wb") as f:
        f.write(kind.page(0, 7, 1000))
        for number in range(1, 300):
            page = bytearray(kind.page(number, 7, 1000))
            page[24:26] = (0x8000 | 4096 >> 8).to_bytes(2, "big")
            page[4092:4096] = int.to_bytes(_crc(page[:4092]), 4, "big")
            f.seek(number * 16384)
            f.write(page[:4096])
        f.truncate(300 * 16384)
    [r] = copy(sink, listed(path))
    out = Path(sink.directory, "t.ibd")
    assert out.read_bytes() == path.read_bytes()
    assert r.corrupt == ()
    assert out.stat().st_blocks * 512 < 2 << 20


def _crc(data: bytearray) -> int:
    from fastcrc import crc32

    return crc32.iscsi(bytes(data))


# -- stopping, limits -------------------------------------------------------------------------------------------


def test_cancelling_stops_within_a_second_and_leaves_nothing(tmp_path, sink):
    file = write_space(tmp_path / "t.ibd", FULL, 3000)
    cancelled = threading.Event()
    threading.Timer(0.2, cancelled.set).start()
    started = time.monotonic()
    with pytest.raises(Interrupted):
        copy(sink, file, throttle=Throttle(1_000_000), cancelled=cancelled)
    assert time.monotonic() - started < 1.2
    assert os.listdir(sink.directory) == []


def test_an_error_in_the_progress_callback_stops_the_copy(tmp_path, sink):
    file = write_space(tmp_path / "t.ibd", FULL, 3000)

    def overrun(_done: int, _total: int) -> None:
        raise RuntimeError("redo overrun")

    with pytest.raises(RuntimeError, match="redo overrun"):
        copy(sink, file, throttle=Throttle(1_000_000), progress=overrun)
    assert os.listdir(sink.directory) == []


def test_progress_ends_at_the_whole(tmp_path, sink):
    files = [write_space(tmp_path / f"t{i}.ibd", FULL, 100) for i in range(3)]
    seen: list[tuple[int, int]] = []
    copy(sink, *files, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (300 * 16384, 300 * 16384)


def test_the_throttle_bounds_the_rate_of_all_threads_together(tmp_path, sink):
    file = write_space(tmp_path / "t.ibd", FULL, 512)
    started = time.monotonic()
    copy(sink, file, throttle=Throttle(bytes_per_s=16 << 20))
    assert 0.25 < time.monotonic() - started < 2


def test_one_big_table_is_worked_on_by_all_threads(tmp_path, sink, monkeypatch):
    file = write_space(tmp_path / "t.ibd", FULL, 3000)
    seen: set[int] = set()

    class FakeSlow(Source):
        def read(self, view, offset, cache):
            seen.add(threading.get_ident())
            time.sleep(0.01)
            return super().read(view, offset, cache)

    monkeypatch.setattr(copy_space, "Source", FakeSlow)
    copy(sink, file, threads=4)
    assert len(seen) == 4
    assert stored(sink, "t.ibd") == Path(file.source).read_bytes()


def test_a_sink_that_cannot_seek_gets_every_chunk_in_order(tmp_path):
    file = write_space(tmp_path / "t.ibd", FULL, 1500)
    offsets: list[int] = []

    class FakeStream:
        random_access = False

        def open_whole(self, path, **_options):
            return self

        def write_at(self, offset, data, extents=None):
            offsets.append(offset)

        def finish(self, size):
            return ""

    copy(FakeStream(), file, threads=4)
    assert offsets == list(range(0, 1500 * 16384, CHUNK_BYTES))


def test_thousands_of_tables_need_few_descriptors(tmp_path, sink, monkeypatch):
    page = FULL.page(0, 7, 1000)
    files = []
    for i in range(1500):
        path = tmp_path / f"t{i}.ibd"
        path.write_bytes(page)
        files.append(listed(path, f"d/t{i}.ibd"))
    most = 0

    class FakeCounted(Source):
        def read(self, view, offset, cache):
            nonlocal most
            most = max(most, len(os.listdir("/proc/self/fd")))
            return super().read(view, offset, cache)

    monkeypatch.setattr(copy_space, "Source", FakeCounted)
    before = len(os.listdir("/proc/self/fd"))
    results = copy(sink, *files, threads=4)
    assert len(results) == 1500
    assert most - before < 20
    assert len(os.listdir("/proc/self/fd")) == before


MEASURED_COPY = """
import re, sys
sys.path[:0] = [sys.argv[1]]
from pathlib import Path
from spacefiles import listed
from goldcopy.capture.copier import SpaceCopier
from goldcopy.capture.copy_space import SpaceJob
from goldcopy.image.directory import DirectorySink
from goldcopy.image.osfile import PageCache
with DirectorySink(sys.argv[3]) as sink:
    SpaceCopier(sink, family="mariadb", threads=4).copy([SpaceJob(listed(Path(sys.argv[2])))], lambda _result: None)
print(int(re.search("VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10)
"""


def test_memory_does_not_grow_with_the_table(tmp_path):
    file = write_space(tmp_path / "t.ibd", FULL, 64)
    with open(file.source, "r+b") as f:
        chunk = f.read(1 << 20)
        for _ in range(127):
            f.write(chunk)
    command = [sys.executable, "-c", MEASURED_COPY, str(Path(__file__).parent), file.source, str(tmp_path / "b")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 80


# -- the page cache ---------------------------------------------------------------------------------------------


def cached(path: str) -> int | None:
    fd = os.open(path, os.O_RDONLY)
    try:
        return PageCache().cached_bytes(fd, 0, os.fstat(fd).st_size)
    finally:
        os.close(fd)


@pytest.mark.parametrize("direct", [True, False])
def test_the_page_cache_is_left_as_it_was_found(tmp_path, sink, monkeypatch, direct):
    if not direct:
        monkeypatch.setattr("goldcopy.image.osfile.reopen_direct", lambda _fd: None)
    cold = write_space(tmp_path / "cold.ibd", FULL, 300)
    small = write_space(tmp_path / "small.ibd", FULL, 6)
    hot = write_space(tmp_path / "hot.ibd", FULL, 300)
    for file in (cold, small):
        fd = os.open(file.source, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
    if cached(cold.source) != 0:
        pytest.skip("this file system or kernel cannot show it")
    copy(sink, cold, small, hot)
    assert cached(cold.source) == 0
    assert cached(small.source) == 0
    assert cached(hot.source) == 300 * 16384


def test_an_interrupted_copy_waits_for_threads_that_python_takes_for_ended(tmp_path, sink, monkeypatch):
    """Python's join, interrupted, marks a running thread as ended: what it writes then would outlive the clean-up."""
    interrupted, inside = threading.Event(), []
    copy_chunk = copy_space.SpaceCopy.copy

    class Forgotten(threading.Thread):
        def is_alive(self) -> bool:
            return not interrupted.is_set() and super().is_alive()

    def slowly(self, index, checker):
        inside.append(index)
        interrupted.wait(5)
        time.sleep(0.2)
        try:
            copy_chunk(self, index, checker)
        finally:
            inside.remove(index)

    def interrupt(_done, _total):
        if inside:
            interrupted.set()
            raise KeyboardInterrupt("SIGTERM")

    monkeypatch.setattr("goldcopy.capture.copier.threading.Thread", Forgotten)
    monkeypatch.setattr(copy_space.SpaceCopy, "copy", slowly)
    file = write_space(tmp_path / "t.ibd", FULL, 300)
    with pytest.raises(KeyboardInterrupt):
        copy(sink, file, threads=2, progress=interrupt)
    assert not inside
