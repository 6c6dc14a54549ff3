"""A page that became older proves a set-back; whatever else may happen to a page proves nothing."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from goldcopy.capture.witness import KEPT, NewestPages, contradiction
from goldcopy.formats import Family, Lsn
from goldcopy.image.manifest import Witness
from goldcopy.server.files import FileRef, file_ref

PAGE, SPACE = 4096, 7
THEN, SINCE, CHECKPOINT = 500, 1000, 2000


def _space(folder: Path, name: str, lsn: int, space_id: int = SPACE, pages: int = 6) -> FileRef:
    """A tablespace whose page 5 has this LSN (0: a page of zeros)."""
    data = bytearray(PAGE * pages)
    for page, page_lsn in ((0, 400), (5, lsn)):
        if page_lsn and page < pages:
            struct.pack_into(">Q", data, page * PAGE + 16, page_lsn)
            struct.pack_into(">I", data, page * PAGE + 34, space_id)
    (folder / name).write_bytes(data)
    ref = file_ref(name, str(folder))
    assert ref is not None
    return ref


def _witness(file: FileRef, lsn: int = THEN) -> Witness:
    return Witness(identity=file.identity, space_id=SPACE, page_no=5, page_size=PAGE, lsn=lsn)


@pytest.mark.parametrize(
    ("name", "lsn", "pages", "family", "proves"),
    [
        ("t.ibd", THEN, 6, "mysql", False),
        ("t.ibd", SINCE, 6, "mysql", False),  # changed since: the increment takes it
        ("t.ibd", THEN - 1, 6, "mysql", True),
        ("t.ibd", THEN + 1, 6, "mysql", True),  # not changed since the base's checkpoint, and yet another
        ("t.ibd", 0, 6, "mysql", True),
        ("t.ibd", 0, 6, "mariadb", False),
        ("t.ibd", THEN, 5, "mariadb", True),
        ("undo001", THEN, 5, "mariadb", False),
        ("ibdata1", THEN, 5, "mysql", False),
    ],
)
def test_what_proves_a_set_back(
    tmp_path: Path, name: str, lsn: int, pages: int, family: Family, proves: bool
) -> None:
    file = _space(tmp_path, name, lsn, pages=pages)
    found = contradiction([_witness(file)], [file], Lsn(SINCE), Lsn(CHECKPOINT), family)
    assert (found is not None) == proves
    assert found is None or (found.path, found.page_no, found.then) == (name, 5, THEN)


def test_another_table_in_the_same_file_proves_nothing(tmp_path: Path) -> None:
    file = _space(tmp_path, "t.ibd", THEN - 1, space_id=SPACE + 1)
    assert contradiction([_witness(file)], [file], Lsn(SINCE), Lsn(CHECKPOINT), "mysql") is None


def test_a_page_that_a_crashed_server_still_owes_proves_nothing(tmp_path: Path) -> None:
    file = _space(tmp_path, "t.ibd", THEN)
    assert contradiction([_witness(file, CHECKPOINT)], [file], Lsn(SINCE), Lsn(CHECKPOINT), "mysql") is None


def test_the_newest_pages_are_kept() -> None:
    newest = NewestPages()
    for lsn in range(1, 3 * KEPT):
        newest.offer(Lsn(lsn), lsn, PAGE, SPACE, "1:2")
    assert [w.lsn for w in newest.records()] == list(range(3 * KEPT - 1, 2 * KEPT - 1, -1))
