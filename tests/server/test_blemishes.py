"""A source that is not quite in order: what is wrong there may not spoil the backup, nor be lost sight of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lab import program
from lab.oracle import check_restored, snapshot, wait_for_purge
from lab.server import LabServer

from .conftest import MakeServer

BODY = "(id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(200)) ENGINE=InnoDB"
ROWS = "(v) SELECT SHA2(help_topic_id, 512) FROM mysql.help_topic LIMIT 400"
MANY = "(v) SELECT REPEAT(CHAR(65 + help_topic_id % 20), 190) FROM mysql.help_topic"
GONE = ("d.lost", "d.discarded")
COMPLAINTS = "lost|number 2|0x2|OS error|cannot find the path"


def fill(server: LabServer) -> None:
    """Tables in the system tablespace, empty ones, the smallest pages, and one for each checksum algorithm."""
    server.sql("CREATE DATABASE d", *(["SET GLOBAL innodb_file_format = Barracuda"] if server.name == "mysql-5.6" else []))
    server.sql("SET GLOBAL innodb_file_per_table = 0", f"CREATE TABLE d.in_system {BODY}", f"INSERT INTO d.in_system {ROWS}")
    server.sql("SET GLOBAL innodb_file_per_table = 1")
    zipped = f"{BODY} ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=1"
    server.sql(f"CREATE TABLE d.empty {BODY}", f"CREATE TABLE d.empty_zip {zipped}", f"CREATE TABLE d.zip {zipped}")
    server.sql(f"INSERT INTO d.zip {ROWS}")
    for algorithm in algorithms(server):
        server.sql(
            f"SET GLOBAL innodb_checksum_algorithm = {algorithm}", f"CREATE TABLE d.{algorithm} {BODY}",
            f"INSERT INTO d.{algorithm} {ROWS}", f"FLUSH TABLES d.{algorithm} FOR EXPORT",
        )
    if server.name != "mysql-5.6":
        punched = "PAGE_COMPRESSED=1" if server.mariadb else "COMPRESSION='zlib'"
        server.sql(f"CREATE TABLE d.punched {BODY} {punched}", *[f"INSERT INTO d.punched {MANY}"] * 12)
    server.sql(*(f"CREATE TABLE {t} {BODY}" for t in (*GONE, "d.dropped")), f"INSERT INTO d.dropped {ROWS}")
    server.sql("ALTER TABLE d.discarded DISCARD TABLESPACE")


def room(server: LabServer) -> int:
    """Blocks of the disk that the table with punched holes takes."""
    return sum(path.stat().st_blocks for path in (server.datadir / "d").glob("punched.ibd"))


def algorithms(server: LabServer) -> list[str]:
    """Those that may be mixed."""
    return ["crc32", "full_crc32"] if server.mariadb else ["crc32", "innodb", "none"]


def spoil(server: LabServer) -> None:
    """A table whose file is gone, the file of a table that is gone, links that lead nowhere."""
    orphan = server.base / "orphan.ibd"
    server.restart()
    shutil.copy(server.datadir / "d/dropped.ibd", orphan)
    server.sql("DROP TABLE d.dropped")
    server.stop()
    (server.datadir / "d/lost.ibd").unlink()
    shutil.move(orphan, server.datadir / "d/orphan.ibd")
    (server.datadir / "d/stale.isl").write_text(f"{server.base}/nowhere/d/stale.ibd")
    (server.datadir / "d/empty_link.isl").write_text("")
    server.start()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("server_name", ["mysql-8.0", "mariadb-11.8", "mysql-5.6"])
def test_blemishes_do_not_spoil_the_backup(server_name: str, make_server: MakeServer, lab_dir: Path) -> None:
    source = make_server(server_name)
    fill(source)
    spoil(source)
    said = program.backup(source, lab_dir / "full").stderr
    taken = {"full": room(source)}
    assert "stale.isl" in said and "empty_link.isl" in said
    source.sql(*(f"INSERT INTO d.{t} {ROWS}" for t in ("in_system", "empty", "empty_zip", *algorithms(source))))
    if source.name != "mysql-5.6":
        source.sql("UPDATE d.punched SET v = REVERSE(v), id = id + 1000000 WHERE id % 3 = 0")
        wait_for_purge(source)
        source.restart()
    program.backup(source, lab_dir / "inc", lab_dir / "full")
    taken["inc"] = room(source)
    source.sql("SET foreign_key_checks = 0", "SET sql_log_bin = 0", *(f"DROP TABLE {t}" for t in GONE))
    want = snapshot(source)
    for backup in ("full", "inc"):
        with program.restore(source, lab_dir / backup, lab_dir / f"r-{backup}") as restored:
            assert room(restored) <= taken[backup] * 1.1, "holes were filled"
            restored.start()
            for table in GONE:
                with pytest.raises(Exception, match=r"missing|discarded|doesn't exist"):
                    restored.sql(f"SELECT * FROM {table}")
            restored.sql("SET foreign_key_checks = 0", "SET sql_log_bin = 0", *(f"DROP TABLE {t}" for t in GONE))
            check_restored(
                want, restored, program.point(lab_dir / backup), source.binlogs(), source=source, bank=False,
                expected=COMPLAINTS,
            )
