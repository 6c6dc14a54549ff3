"""--stats on files that real servers wrote: 60 rows in two leaves under a root, and what became of deleted pages."""

from contextlib import nullcontext
from pathlib import Path

import pytest
from golden import load

from goldcopy.compat.filters import Filters, expressions
from goldcopy.compat.stats import stats
from goldcopy.errors import UsageError

TWO_LEAVES = [
    "  real statistics:",
    "     level 1 pages: pages=1, data=28 bytes, data/pages=0%",
    "        leaf pages: recs=60, pages=2, data=15270 bytes, data/pages=46%",
]


def lines(folder: Path, content: bytes, filters: Filters | None = None) -> list[str]:
    (folder / "g").mkdir()
    (folder / "g" / "t.ibd").write_bytes(content)
    return list(stats(str(folder), filters))


def test_indexes_are_named_by_the_dictionary_in_their_tablespace(tmp_path: Path) -> None:
    told = lines(tmp_path, load("mysql-crc32"))
    assert told[0] == "<INDEX STATISTICS>"
    assert told[2] == "  table: g/t, index: PRIMARY, space id: 2, root page: 4, zip size: 0"
    assert told[3:6] == TWO_LEAVES


def test_an_index_without_a_dictionary_has_its_number(tmp_path: Path) -> None:
    told = lines(tmp_path, load("mysql-innodb"))
    assert told[2] == "  table: g/t, index: #22, space id: 6, root page: 3, zip size: 0"
    assert told[3:6] == TWO_LEAVES


def test_a_page_that_is_in_no_use_is_not_counted(tmp_path: Path) -> None:
    """Page 4 given back: its bits among the descriptors of the first extent."""
    content = bytearray(load("mysql-innodb"))
    content[150 + 24 + 1] |= 1
    told = lines(tmp_path, bytes(content))
    assert "leaf pages: recs=60" not in told[5]
    assert "pages=1," in told[5]


def test_a_dictionary_caught_half_written_names_nothing(tmp_path: Path) -> None:
    content = bytearray(load("mysql-crc32"))
    sdi = next(at for at in range(0, len(content), 16384) if content[at + 24 : at + 26] == (17853).to_bytes(2, "big"))
    content[sdi + 200 : sdi + 16000] = bytes(15800)
    assert "index: #" in lines(tmp_path, bytes(content))[2]


def test_compressed_pages_show_what_they_hold_unpacked(tmp_path: Path) -> None:
    told = lines(tmp_path, load("mysql-zip-innodb"))
    assert told[2].endswith("root page: 3, zip size: 8192")
    assert "recs=60, pages=1, data=15270 bytes, data/pages=93%" in told[4]


def test_what_cannot_be_looked_into_is_told(tmp_path: Path) -> None:
    assert "were not looked into: 6" in lines(tmp_path, load("mysql-zlib"))[2]


@pytest.mark.parametrize(("kind", "whole"), [("log-applied", False), ("full-backuped", False), ("full-prepared", True)])
def test_a_backup_is_looked_into_when_it_is_prepared(tmp_path: Path, kind: str, whole: bool) -> None:
    text = f"backup_type = {kind}\nfrom_lsn = 0\nto_lsn = 1\nlast_lsn = 1\n"
    (tmp_path / "xtrabackup_checkpoints").write_text(text)
    with nullcontext() if whole else pytest.raises(UsageError, match="Cannot find log file"):
        assert lines(tmp_path, load("mysql-innodb"))


@pytest.mark.parametrize(("expression", "told"), [("^g.t$", True), ("^g.other$", False)])
def test_only_the_tables_asked_for_are_told(tmp_path: Path, expression: str, told: bool) -> None:
    found = lines(tmp_path, load("mysql-innodb"), Filters(matching=expressions(expression)))
    assert any("table: g/t," in line for line in found) is told
