"""Recovery with wrong options changes data, and a log misread lets a backup cut short pass as good."""

import pytest

from goldcopy.dialect import ROWS, choose
from goldcopy.dialect.recovery import system_file_spec

MARIADB, MYSQL, MYSQL56 = choose("10.11.19-MariaDB"), choose("9.7.4"), choose("5.6.24")
TASK = {"log_bytes": 96 << 20, "log_files": 1, "memory_bytes": 1 << 27}


@pytest.mark.parametrize("dialect", ROWS, ids=lambda d: d.name)
def test_nothing_but_crash_recovery_may_touch_the_data(dialect):
    options = dialect.recovery_options({}, **TASK)
    assert "--skip-networking" in options
    assert "--event-scheduler=OFF" in options
    assert "--skip-log-bin" in options
    assert any(o in ("--skip-slave-start", "--skip-replica-start") for o in options)
    assert not any(o.startswith("--log-bin=") for o in options)


@pytest.mark.parametrize("version", ["9.7.4", "8.0.45", "8.0.21"])
def test_the_dictionary_is_never_upgraded_by_accident(version):
    never = {"--upgrade=NONE", "--loose-upgrade=NONE"}
    assert never & set(choose(version).recovery_options({}, **TASK))


def test_transactions_in_doubt_are_decided_by_the_binlog_tail():
    options = MYSQL.recovery_options({"gtid_mode": "ON", "enforce_gtid_consistency": "ON"}, **TASK, binlog="binlog")
    assert "--log-bin=binlog" in options and "--skip-log-bin" not in options
    assert "--gtid-mode=ON" in options and "--enforce-gtid-consistency=ON" in options


def test_the_source_shape_of_innodb_is_kept():
    variables = {
        "innodb_page_size": "4096", "lower_case_table_names": "1", "innodb_undo_tablespaces": "3",
        "innodb_data_file_path": "ibdata1:12M;/ssd/ibdata2:50M:autoextend:max:1G",
    }
    options = MARIADB.recovery_options(variables, **TASK)
    assert {"--innodb-page-size=4096", "--lower-case-table-names=1", "--innodb-undo-tablespaces=3"} <= set(options)
    assert "--innodb-data-file-path=ibdata1:12M;ibdata2:50M:autoextend:max:1G" in options
    assert f"--innodb-log-file-size={96 << 20}" in options


def test_system_files_go_where_the_restore_put_them():
    spec = "ibdata1:12M;/ssd/a:b/ibdata2:50M:autoextend"
    assert system_file_spec(spec, ["/new/one", "/new/two"]) == "/new/one:12M;/new/two:50M:autoextend"
    assert system_file_spec(spec, []) == "ibdata1:12M;ibdata2:50M:autoextend"


def test_old_servers_get_the_exact_size_of_each_redo_file():
    options = MYSQL56.recovery_options({}, log_bytes=10 << 20, log_files=2, memory_bytes=1)
    assert {f"--innodb-log-file-size={5 << 20}", "--innodb-log-files-in-group=2"} <= set(options)


def test_keys_are_named_to_the_server_and_only_by_their_place():
    variables = {"file_key_management_filename": "/etc/keys", "innodb_encrypt_log": "ON"}
    options = MARIADB.recovery_options(variables, **TASK)
    assert "--plugin-load-add=file_key_management" in options
    assert "--file-key-management-filename=/etc/keys" in options
    assert "--innodb-encrypt-log=ON" in options


MARIADB_LOG = """2026-11-25  2:28:20 0 [Note] InnoDB: Starting crash recovery from checkpoint LSN=54000
2026-11-25  2:28:20 0 [Note] InnoDB: End of log at LSN=54396
2026-11-25  2:28:20 0 [Note] InnoDB: Last binlog file './binlog.000001', position 4645
"""
MYSQL56_LOG = """InnoDB: Doing recovery: scanned up to log sequence number 1660000
InnoDB: Doing recovery: scanned up to log sequence number 1662569
InnoDB: Last MySQL binlog file position 0 4842, file name binlog.000004
"""
MYSQL_LOG = "[Note] [MY-012532] [InnoDB] Doing recovery: scanned up to log sequence number 19582047\n"
MARIADB105_LOG = """[Note] InnoDB: Starting crash recovery from checkpoint LSN=45079,45079
[Note] InnoDB: 10.5.23 started; log sequence number 54956; transaction id 73
"""
MARIADB105_RESIZED = """[Note] InnoDB: Resizing redo log from 2560 to 8388608 bytes; LSN=48152
[Note] InnoDB: New log file created, LSN=48152
[Note] InnoDB: 10.5.23 started; log sequence number 48140; transaction id 26
"""


@pytest.mark.parametrize(
    ("version", "log", "lsn", "binlog"),
    [
        ("10.11.19-MariaDB", MARIADB_LOG, 54396, ("./binlog.000001", 4645)),
        ("5.6.24", MYSQL56_LOG, 1662569, ("binlog.000004", 4842)),
        ("9.7.4", MYSQL_LOG, 19582047, ("", 0)),
        ("10.5.23-MariaDB", MARIADB105_LOG, 54956, ("", 0)),
        ("10.5.23-MariaDB", MARIADB105_RESIZED, 48152, ("", 0)),
        ("9.7.4", "nothing of use", None, ("", 0)),
    ],
)
def test_the_log_tells_how_far_recovery_came(version, log, lsn, binlog):
    dialect = choose(version)
    assert dialect.recovered_lsn(log) == lsn
    assert dialect.recovered_binlog(log) == binlog


def test_errors_are_found_and_warnings_are_not():
    log = "0 [ERROR] InnoDB: bad\n0 [Warning] harmless\n0 [Note] ok\nmysqld got signal 11 ;\n"
    assert MARIADB.log_errors(log) == ["0 [ERROR] InnoDB: bad", "mysqld got signal 11 ;"]


def test_the_system_tablespace_may_shrink() -> None:
    spec = "/one/ibdata1:12M;/two/ibdata2:1M:autoextend:autoshrink"
    assert system_file_spec(spec, []) == "ibdata1:12M;ibdata2:1M:autoextend:autoshrink"


def test_arias_logs_stay_for_the_restored_server_where_mariadb_backup_recovers_none() -> None:
    purges_none = "--aria-log-purge-type=external"
    assert purges_none in choose("10.5.29-MariaDB").recovery_options({}, **TASK)
    assert purges_none not in MARIADB.recovery_options({}, **TASK)
