"""--check-tables: damage inside the indexes is found by --prepare, and every table that has some is named."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.fronts import back_up, copied_back, ours, prepare
from lab.server import LabServer

from .conftest import MakeServer

PAGE = 16384
LEAF = 6
INDEX_ID = 66
LEVEL = 64
KINDS = (
    "CREATE TABLE d.compressed (id INT PRIMARY KEY, v TEXT) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4",
    "CREATE TABLE d.`od``d name` (id INT PRIMARY KEY, v TEXT, FULLTEXT (v))",
    "CREATE TABLE d.parts (id INT PRIMARY KEY, v TEXT) PARTITION BY HASH (id) PARTITIONS 3",
)


def with_tables(server: LabServer, *names: str) -> None:
    """Tables of several pages each."""
    server.sql("CREATE DATABASE d")
    for name in names:
        server.sql(
            f"CREATE TABLE d.{name} (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(255), KEY (v))",
            f"INSERT INTO d.{name} (v) SELECT CONCAT(ordinal_position, REPEAT('x', 200))"
            " FROM information_schema.columns LIMIT 900",
        )


def damage(server: LabServer, file: Path, at: int, value: bytes, *, page: int = LEAF) -> None:
    """Change bytes of a page, and make its checksum fit again."""
    with file.open("r+b") as f:
        f.seek(page * PAGE + at)
        f.write(value)
    tool = Path(server.info.server).parent.parent / "bin" / "innochecksum"
    subprocess.run([tool, "--no-check", "--write=crc32", file], check=True)


@pytest.mark.parametrize("server_name", ["mysql-8.0", "mysql-9.7"])
def test_damage_that_no_checksum_shows_is_found_and_named(
    server_name: str, make_server: MakeServer, lab_dir: Path
) -> None:
    """Sound tables of many kinds pass; three damaged ones are all named, also those over which the server falls."""
    source = make_server(server_name)
    with_tables(source, "one", "two", "three", "sound")
    source.sql(*KINDS, *(f"INSERT INTO d.{t} SELECT id, v FROM d.one" for t in ("compressed", "`od``d name`", "parts")))
    backup = lab_dir / "backup"
    back_up(source, backup)
    source.stop()

    log = prepare(source, backup, "--check-tables")

    for name in ("one", "compressed", "od`d name", "parts"):
        assert f"Checking: d/{name}" in log, log[-3000:]
    assert "All table checks passed" in log
    assert log.rstrip().endswith("completed OK!")
    copied_back(source, backup, lab_dir / "copy").stop()

    damage(source, backup / "d" / "one.ibd", INDEX_ID, b"\xff" * 8)
    damage(source, backup / "d" / "two.ibd", INDEX_ID, b"\xff" * 8)
    damage(source, backup / "d" / "three.ibd", LEVEL, b"\xff\xff", page=4)

    log = prepare(source, backup, "--check-tables", status=1)

    for name in ("one", "two", "three"):
        assert f"table d/{name} is corrupted" in log, log[-3000:]
    assert "table d/sound is corrupted" not in log
    assert "Table check failed" in log
    assert "completed OK!" not in log


@pytest.mark.parametrize("server_name", ["mysql-8.0"])
def test_a_flipped_bit_in_a_prepared_backup_is_found(server_name: str, make_server: MakeServer, lab_dir: Path) -> None:
    """Where no index is either; and a pass that only lays increments over says that it checks nothing."""
    source = make_server(server_name)
    with_tables(source, "one")
    backup = lab_dir / "backup"
    back_up(source, backup)
    source.stop()
    assert "tables are not checked now" in prepare(source, backup, "--apply-log-only", "--check-tables")
    prepare(source, backup)
    with (backup / "undo_001").open("r+b") as f:
        f.seek(3 * PAGE + 500)
        f.write(b"damage")

    log = prepare(source, backup, "--check-tables", status=1)

    assert "tablespace undo_001 is corrupted" in log, log[-3000:]
    misplaced = ("--copy-back", "--check-tables", f"--target-dir={backup}", f"--datadir={lab_dir}/x")
    assert "--check-tables is only valid with --prepare" in ours("xtrabackup", *misplaced, status=1).stderr
