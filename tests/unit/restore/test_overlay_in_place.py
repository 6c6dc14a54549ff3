"""An increment laid over a backup: what was renamed, dropped, made anew, and what a crash in between leaves."""

from __future__ import annotations

import os
from pathlib import Path

import fastcrc
import pytest

from goldcopy.errors import BackupInvalid
from goldcopy.events import silent
from goldcopy.formats import Lsn
from goldcopy.formats.delta import DeltaEncoder
from goldcopy.formats.innodb.first_page import first_page
from goldcopy.formats.innodb.page import Checksum, ChunkVerifier, geometry
from goldcopy.formats.redo.r57 import first_header
from goldcopy.formats.redo.window import Window
from goldcopy.restore.inplace import Increment, Overlay, Piece, apply_delta, space_id_of
from goldcopy.restore.log_header import empty_when_spent, mark_restored

PAGE = 4096


def page(space_id: int, number: int, fill: int, pages: int = 0) -> bytes:
    """A page that tells its tablespace, and in page 0 the tablespace's size in pages."""
    data = bytearray([fill]) * PAGE
    data[4:8] = number.to_bytes(4, "big")
    data[34:38] = space_id.to_bytes(4, "big")
    data[46:50] = pages.to_bytes(4, "big")
    return bytes(data)


def table(path: Path, space_id: int, pages: int, fill: int = 1) -> None:
    """A whole tablespace."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(page(space_id, n, fill, pages) for n in range(pages)))


def delta(path: Path, pages: dict[int, bytes], page_size: int = PAGE) -> None:
    """A delta file of these pages."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoder = DeltaEncoder(page_size)
    with path.open("wb") as f:
        blocks = [block for number in sorted(pages) for block in encoder.add(number, pages[number])]
        for block in [*blocks, *encoder.finish()]:
            f.seek(block.offset)
            f.write(block.data)


def fills(path: Path) -> list[int]:
    """The last byte of every page."""
    data = path.read_bytes()
    return [data[at + PAGE - 1] for at in range(0, len(data), PAGE)]


def piece(root: Path, name: str, space_id: int, pages: dict[int, bytes]) -> Piece:
    """A delta of an increment in ``root``."""
    delta(root / f"{name}.delta", pages)
    return Piece(name, str(root / f"{name}.delta"), PAGE, space_id)


def lay(base: Path, *pieces: Piece, partial: bool = False, files: tuple[tuple[str, str], ...] = ()) -> None:
    """Lay an increment over ``base``."""
    Overlay(str(base), Increment(pieces, files, frozenset(), partial=partial), silent, threads=2).run()


def test_tables_that_exchanged_their_names_keep_their_rows(tmp_path: Path) -> None:
    base, inc = tmp_path / "base", tmp_path / "inc"
    table(base / "d/a.ibd", 7, 3, fill=7)
    table(base / "d/b.ibd", 8, 3, fill=8)
    pieces = (piece(inc, "d/a.ibd", 8, {1: page(8, 1, 88)}), piece(inc, "d/b.ibd", 7, {}))
    for _again in range(2):
        lay(base, *pieces)
        assert fills(base / "d/a.ibd") == [8, 88, 8]
        assert fills(base / "d/b.ibd") == [7, 7, 7]
    assert sorted(os.listdir(base / "d")) == ["a.ibd", "b.ibd"]


def test_a_dropped_table_goes_and_one_recreated_under_its_name_does_not_inherit_its_pages(tmp_path: Path) -> None:
    base, inc = tmp_path / "base", tmp_path / "inc"
    table(base / "d/gone.ibd", 7, 2)
    table(base / "d/new.ibd", 8, 9, fill=8)
    lay(base, piece(inc, "d/new.ibd", 9, {0: page(9, 0, 9, pages=4), 2: page(9, 2, 9)}))
    assert not (base / "d/gone.ibd").exists()
    assert space_id_of(str(base / "d/new.ibd")) == 9
    assert 8 not in fills(base / "d/new.ibd")


def test_a_partial_increment_leaves_what_it_does_not_hold(tmp_path: Path) -> None:
    base, inc = tmp_path / "base", tmp_path / "inc"
    table(base / "d/other.ibd", 7, 2)
    (base / "d/other.frm").write_text("definition")
    lay(base, piece(inc, "d/t.ibd", 9, {0: page(9, 0, 9)}), partial=True)
    assert (base / "d/other.ibd").exists()
    assert (base / "d/other.frm").exists()


def test_files_of_a_crashed_attempt_are_found_by_their_id(tmp_path: Path) -> None:
    base, inc = tmp_path / "base", tmp_path / "inc"
    table(base / "d/goldcopy_parked_7.ibd", 7, 3, fill=7)
    (base / "d/t.frm.goldcopy-tmp").write_text("half")
    lay(base, piece(inc, "e/t.ibd", 7, {2: page(7, 2, 70)}))
    assert fills(base / "e/t.ibd") == [7, 7, 70]
    assert not (base / "d").exists()


def test_a_grown_tablespace_has_the_size_that_its_header_tells(tmp_path: Path) -> None:
    base, inc = tmp_path / "base", tmp_path / "inc"
    table(base / "d/t.ibd", 7, 3)
    lay(base, piece(inc, "d/t.ibd", 7, {0: page(7, 0, 1, pages=20)}))
    assert (base / "d/t.ibd").stat().st_size == 20 * PAGE


def test_the_last_file_of_the_system_tablespace_grows_by_what_its_header_tells(tmp_path: Path) -> None:
    base, inc = tmp_path / "base", tmp_path / "inc"
    table(base / "ibdata1", 0, 3)
    table(base / "ibdata2", 0, 2)
    changed = piece(inc, "ibdata1", 0, {0: page(0, 0, 1, pages=9)})
    files = ("ibdata1", "ibdata2")
    increment = Increment((changed,), (), frozenset(), logical_page_size=PAGE, system_files=files)
    Overlay(str(base), increment, silent).run()
    assert [(base / name).stat().st_size // PAGE for name in files] == [3, 6]


def test_a_delta_of_many_clusters_lands_page_by_page(tmp_path: Path) -> None:
    pages = {number: bytes([number % 251]) * 1024 for number in range(0, 1400, 2)}
    delta(tmp_path / "t.delta", pages, 1024)
    apply_delta(str(tmp_path / "t.delta"), str(tmp_path / "t"), 1024)
    data = (tmp_path / "t").read_bytes()
    assert all(data[n * 1024 : n * 1024 + 1024] == content for n, content in pages.items())


def test_a_delta_cut_short_is_refused(tmp_path: Path) -> None:
    delta(tmp_path / "t.delta", {n: page(7, n, 5) for n in range(10)})
    with (tmp_path / "t.delta").open("r+b") as f:
        f.truncate(6 * PAGE + 100)
    with pytest.raises(BackupInvalid, match="cut short"):
        apply_delta(str(tmp_path / "t.delta"), str(tmp_path / "t"), PAGE)


def test_something_else_than_a_delta_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.delta").write_bytes(b"other" * 4096)
    with pytest.raises(BackupInvalid, match="is not valid .delta file"):
        apply_delta(str(tmp_path / "t.delta"), str(tmp_path / "t"), PAGE)


def test_definitions_follow_the_increment(tmp_path: Path) -> None:
    base, inc = tmp_path / "base", tmp_path / "inc"
    (base / "d").mkdir(parents=True)
    (inc / "d").mkdir(parents=True)
    (base / "d/old.frm").write_text("old")
    (base / "d/t.frm").write_text("before")
    (inc / "d/t.frm").write_text("after")
    lay(base, files=(("d/t.frm", str(inc / "d/t.frm")),))
    assert {p.name: p.read_text() for p in (base / "d").iterdir()} == {"t.frm": "after"}


@pytest.mark.parametrize("zip_size", [0, 8192])
def test_a_made_up_first_page_passes_the_servers_checks(zip_size: int) -> None:
    data = first_page(77, zip_size or 16384, zip_size, 16384)
    told = geometry(data, "mariadb")
    assert (told.space_id, told.page_size, told.zip_size) == (77, zip_size or 16384, zip_size)
    assert told.checksum is (Checksum.ZIP if zip_size else Checksum.FULL_CRC32)
    assert ChunkVerifier(memoryview(bytearray(data)), told).bad(len(data)) == []


def test_a_log_is_marked_as_restored_and_stays_valid(tmp_path: Path) -> None:
    header = bytearray(4096)
    header[:4] = b"Phys"
    header[16:32] = b"MariaDB 10.11.19"
    log = tmp_path / "ib_logfile0"
    log.write_bytes(header)
    mark_restored(str(log))
    marked = log.read_bytes()
    assert marked[16:48].rstrip(b"\0") == b"Backup 10.11.19"
    assert int.from_bytes(marked[508:512], "big") == fastcrc.crc32.iscsi(marked[:508])
    (tmp_path / "empty").write_bytes(b"")
    mark_restored(str(tmp_path / "empty"))
    assert (tmp_path / "empty").stat().st_size == 0


@pytest.mark.parametrize(
    ("layout", "checkpoint", "spent"), [(b"PHYS", 5000, True), (b"PHYS", 5012, False), (b"Phys", 5000, False)]
)
def test_only_a_log_whose_all_is_in_the_data_files_is_emptied(
    layout: bytes, checkpoint: int, spent: bool, tmp_path: Path
) -> None:
    window = Window(
        layout="R105", start=Lsn(4608), checkpoint=Lsn(checkpoint), checkpoint_no=2, end=Lsn(9000),
        header=layout + bytes(508),
    )  # fmt: skip
    log, system = tmp_path / "ib_logfile0", tmp_path / "ibdata1"
    log.write_bytes(first_header(window, 2048, start=4608) + b"redo" * 512)
    system.write_bytes(bytes(26) + (5000).to_bytes(8, "big") + bytes(PAGE))
    empty_when_spent(str(log), str(system))
    empty_when_spent(str(log), str(system))
    assert log.stat().st_size == (0 if spent else 4096)


def test_a_delta_without_an_id_goes_over_the_file_of_its_name_or_nowhere(tmp_path: Path) -> None:
    """XtraBackup 2.0.1 told none: guessing would put one table's pages into another."""
    base, root = tmp_path / "base", tmp_path / "increment"
    table(base / "d" / "t.ibd", 7, 3)
    lay(base, piece(root, "d/t.ibd", 0, {1: page(7, 1, 9)}))
    assert fills(base / "d" / "t.ibd") == [1, 9, 1]
    with pytest.raises(BackupInvalid, match="does not tell its tablespace's id"):
        lay(base, piece(root, "d/renamed.ibd", 0, {1: page(7, 1, 9)}))
    assert fills(base / "d" / "t.ibd") == [1, 9, 1]
