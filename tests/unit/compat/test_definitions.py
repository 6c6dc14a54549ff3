"""A tablespace that an increment has lost must not pass for one that was dropped."""

from __future__ import annotations

from pathlib import Path

import pytest

from goldcopy.compat.definitions import defined_tablespaces

# of MariaDB 10.11 and 11.8: two partitions with two subpartitions each, one with a dash in its name
PAR = (
    b"\x16\0\0\0>XhX\x04\0\0\0\x0c\x0c\x0c\x0cD\0\0\0p0#SP#p0sp0\0p0#SP#p0sp1\0p@002d1#SP#p@002d1sp0\0"
    b"p@002d1#SP#p@002d1sp1\0" + bytes(8)
)
MYISAM, INNODB, PARTITIONED = 9, 12, 20


def frm(engine: int, of_partitions: int = 0) -> bytes:
    head = bytearray(64)
    head[:4] = bytes([0xFE, 1, 10, engine])
    head[61] = of_partitions
    return bytes(head) + bytes(900)


@pytest.mark.parametrize(
    ("definition", "files"),
    [
        (frm(INNODB), {"d/t.ibd"}),
        (frm(MYISAM), set()),
        (b"TYPE=VIEW\nquery=select 1\n" * 9, set()),
        (b"\xfe\x01", set()),
        (frm(PARTITIONED, MYISAM), set()),
        (frm(PARTITIONED, INNODB), {
            "d/t#P#p0#SP#p0sp0.ibd", "d/t#P#p0#SP#p0sp1.ibd",
            "d/t#P#p@002d1#SP#p@002d1sp0.ibd", "d/t#P#p@002d1#SP#p@002d1sp1.ibd",
        }),
    ],
)  # fmt: skip
def test_definitions_tell_the_files_of_their_tables(tmp_path: Path, definition: bytes, files: set[str]) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/t.frm").write_bytes(definition)
    (tmp_path / "d/t.par").write_bytes(PAR)
    assert set(defined_tablespaces(str(tmp_path), ["d/t.frm", "d/t.par", "d/db.opt"])) == files


def test_a_list_of_partitions_that_is_gone_names_none(tmp_path: Path) -> None:
    (tmp_path / "t.frm").write_bytes(frm(PARTITIONED, INNODB))
    assert not list(defined_tablespaces(str(tmp_path), ["t.frm"]))
