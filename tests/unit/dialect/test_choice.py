"""The wrong row means the wrong locks, the wrong redo layout, and a backup that cannot be recovered."""

import pytest

from goldcopy.dialect import ROWS, choose
from goldcopy.errors import ServerRefused


@pytest.mark.parametrize(
    ("version", "row"),
    [
        ("10.11.19-MariaDB-0+deb12u1", "mariadb-10.11"),
        ("10.5.23-MariaDB-0+deb11u1-log", "mariadb-10.5"),
        ("5.5.5-10.5.23-MariaDB", "mariadb-10.5"),
        ("10.6.18-MariaDB", "mariadb-10.6"),
        ("10.7.8-MariaDB", "mariadb-10.6"),
        ("10.8.1-MariaDB", "mariadb-10.8"),
        ("10.4.33-MariaDB", "mariadb-10.4"),
        ("10.3.39-MariaDB", "mariadb-10.2"),
        ("11.4.2-MariaDB", "mariadb-11.4"),
        ("11.8.6-MariaDB-0+deb13u1 from Debian", "mariadb-11.8"),
        ("5.6.24", "mysql-5.6"),
        ("5.7.44-log", "mysql-5.7"),
        ("8.0.29", "mysql-8.0-old-redo"),
        ("8.0.30", "mysql-8.0"),
        ("8.0.45-1", "mysql-8.0"),
        ("8.4.3", "mysql-8.4"),
        ("9.0.1", "mysql-9"),
        ("9.7.4-2", "mysql-9"),
        ("/usr/sbin/mysqld  Ver 8.0.45-1 for Linux on x86_64 ((Debian))", "mysql-8.0"),
        ("mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)", "mariadb-10.11"),
    ],
)
def test_each_server_gets_its_own_row(version, row):
    assert choose(version).name == row


@pytest.mark.parametrize("version", ["9.8.0", "10.0.1", "12.0.1-MariaDB", "11.9.1-MariaDB"])
def test_an_unknown_newer_server_is_refused_unless_forced(version):
    with pytest.raises(ServerRefused) as refused:
        choose(version)
    assert "--force-version" in refused.value.hint
    newest = choose(version, force=True)
    assert newest is next(r for r in ROWS if r.family == newest.family)


@pytest.mark.parametrize("version", ["5.5.62", "10.1.48-MariaDB", "5.0.0"])
def test_a_server_too_old_is_refused_even_when_forced(version):
    with pytest.raises(ServerRefused):
        choose(version, force=True)


def test_what_is_no_version_is_refused():
    with pytest.raises(ServerRefused):
        choose("mystery")


def test_rows_stand_newest_first_so_that_the_first_match_is_the_right_one():
    for family in ("mysql", "mariadb"):
        since = [r.since for r in ROWS if r.family == family]
        assert since == sorted(since, reverse=True)
    assert len({r.name for r in ROWS}) == len(ROWS)


def test_the_servers_we_really_run_are_marked_and_no_others():
    tested = {r.name for r in ROWS if r.tested}
    assert tested == {"mysql-5.6", "mysql-8.0", "mysql-9", "mariadb-10.5", "mariadb-10.11", "mariadb-11.8"}


def test_another_servers_redo_log_is_refused():
    choose("10.11.2-MariaDB").check_redo_layout("R108")
    with pytest.raises(ServerRefused):
        choose("10.11.2-MariaDB").check_redo_layout("R105")


@pytest.mark.parametrize(
    ("backup", "binary", "fits"),
    [
        ("10.11.2-MariaDB", "10.11.19-MariaDB", True),
        ("10.11.19-MariaDB", "10.11.2-MariaDB", True),
        ("10.11.2-MariaDB", "11.4.2-MariaDB", False),
        ("10.5.23-MariaDB", "10.6.1-MariaDB", False),
        ("8.0.45", "8.0.45-1", True),
        ("8.0.44", "8.0.45", False),
        ("8.0.45", "8.4.0", False),
        ("5.6.24", "5.6.51", True),
        ("8.0.45", "10.11.2-MariaDB", False),
    ],
)
def test_a_binary_that_would_upgrade_the_files_is_refused(backup, binary, fits):
    assert (choose(backup).binary_objection(backup, binary) == "") is fits


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_servers_binlog_is_rotated_only_for_the_sake_of_its_tail(row):
    """It is the user's: a backup that holds no tail leaves it alone."""
    steps = (*row.locks.guard, *row.locks.block_ddl, *row.locks.commit, *row.locks.commit_innodb)
    assert any("BINARY LOGS" in step.sql for step in steps) == row.binlog_tail
