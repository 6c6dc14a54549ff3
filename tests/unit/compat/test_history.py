"""--history must write what the original's scripts read, and find the base that they would."""

import re
from pathlib import Path

import pytest

from goldcopy.compat.history import columns, quoted, record, table, to_lsn
from goldcopy.compat.infofiles import Info
from goldcopy.dialect.peers import peer_of
from goldcopy.errors import BackupInvalid

GOLDEN = Path(__file__).parent / "golden"
OLD, NEW, PXB = peer_of("mariadb", "10.5.23"), peer_of("mariadb", "11.8.9"), peer_of("mysql", "8.0.36")


class Server:
    """Answers what a test says, and keeps what it was told."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.said = []

    def run(self, sql):
        self.said.append(sql)

    def value(self, sql):
        self.said.append(sql)
        return self.answers.pop(0) if self.answers else None


@pytest.mark.parametrize("series", ["10.5", "10.11", "11.8"])
def test_columns_are_those_of_the_real_table(series):
    text = (GOLDEN / f"mariadb-{series}/history.txt").read_text()
    real = re.findall(r"^ *([a-z_]+): ", text, re.M)
    assert [name for name, _ in columns(peer_of("mariadb", series + ".1"))] == real


def test_each_series_has_its_table():
    assert table(OLD) == "PERCONA_SCHEMA.xtrabackup_history"
    assert table(NEW) == "mysql.mariadb_backup_history"
    assert table(PXB) == "PERCONA_SCHEMA.xtrabackup_history"
    assert dict(columns(NEW))["format"].startswith("ENUM('file', 'tar', 'mbstream')")
    assert dict(columns(PXB))["binlog_pos"].startswith("TEXT")
    assert [n for n, _ in columns(PXB)][-3:] == ["compact", "compressed", "encrypted"]


INFO = Info(
    uuid="u-1", name="it's", tool_name="xtrabackup", tool_command="--backup", start_time="2026-11-25 02:11:18",
    end_time="2026-11-25 02:11:20", lock_time=3, innodb_to_lsn=99, partial=True, compressed=True,
)  # fmt: skip


def test_the_first_backup_makes_database_and_table():
    server = Server(None)
    record(server, PXB, INFO)
    kinds = [sql.split("(")[0].strip() for sql in server.said[1:]]
    assert kinds == [
        "CREATE DATABASE IF NOT EXISTS PERCONA_SCHEMA",
        "CREATE TABLE IF NOT EXISTS PERCONA_SCHEMA.xtrabackup_history",
        "INSERT INTO PERCONA_SCHEMA.xtrabackup_history",
    ]


def test_a_later_backup_needs_no_right_to_create():
    server = Server("varchar(40)", b"enum('file','tar','mbstream')")
    record(server, NEW, INFO)
    assert [s for s in server.said if not s.startswith("SELECT")] == [server.said[-1]]


@pytest.mark.parametrize(
    ("peer", "stale", "change"),
    [
        (NEW, "enum('file','tar','xbstream')", "MODIFY format ENUM('file', 'tar', 'mbstream')"),
        (PXB, "varchar(128)", "MODIFY binlog_pos TEXT"),
    ],
)
def test_an_older_table_is_brought_up_to_date(peer, stale, change):
    server = Server("varchar(40)", stale)
    record(server, peer, INFO)
    assert any(f"ALTER TABLE {table(peer)} {change}" in sql for sql in server.said)


def test_the_row_is_honest_and_in_the_tables_order():
    server = Server("varchar(40)", "text")
    record(server, PXB, INFO)
    insert = server.said[-1]
    assert "FROM_UNIXTIME(1795572678), FROM_UNIXTIME(1795572680), 3, " in insert
    assert "'Y', 'N', 'file', 'N', 'Y', 'N')" in insert
    assert "it's" not in insert
    assert quoted("it's") in insert


def test_a_backup_without_a_name_has_none():
    for peer, shown in ((NEW, "''"), (PXB, "NULL")):
        server = Server("varchar(40)", "text" if peer is PXB else "enum('file','tar','mbstream')")
        record(server, peer, Info(uuid="u"))
        assert f"VALUES ('u', {shown}, " in server.said[-1]


def test_text_cannot_leave_its_quotes():
    assert quoted("plain") == "'plain'"
    assert quoted("it's") == "CONVERT(0x69742773 USING utf8)"
    assert "\\" not in quoted("a\\' OR 1=1")


def test_the_base_of_an_increment_by_name_and_by_uuid():
    server = Server("varchar(255)", 4711)
    assert to_lsn(server, NEW, name="weekly") == 4711
    assert "name = 'weekly'" in server.said[1]
    assert "ORDER BY innodb_to_lsn DESC LIMIT 1" in server.said[1]
    server = Server("varchar(40)", b"12")
    assert to_lsn(server, PXB, uuid="u-1") == 12
    assert "uuid = 'u-1'" in server.said[1]


def test_an_unknown_series_is_an_error_and_not_a_full_backup():
    with pytest.raises(BackupInvalid, match="history record"):
        to_lsn(Server("varchar(255)", None), NEW, name="nightly")
    with pytest.raises(BackupInvalid, match="there is no mysql.mariadb_backup_history"):
        to_lsn(Server(None), NEW, name="nightly")
