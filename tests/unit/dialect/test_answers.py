"""A position or LSN read wrongly makes replicas and point-in-time recovery start at the wrong place."""

import json

import pytest

from goldcopy.dialect import choose
from goldcopy.dialect.position import replica_state
from goldcopy.errors import ServerRefused

MYSQL, MYSQL56, MARIADB = choose("9.7.4"), choose("5.6.24"), choose("10.11.19-MariaDB")

ENGINE_STATUS = """
---
LOG
---
Log sequence number          19375045
Log buffer assigned up to    19375045
Log flushed up to            19375035
Pages flushed up to          19370000
"""


def test_lsns_come_from_status_variables_whatever_their_order_and_case():
    rows = [("Innodb_lsn_last_checkpoint", "5"), ("Innodb_lsn_flushed", "46906"), ("Innodb_lsn_current", "46974")]
    assert MARIADB.lsn.parse(rows) == (46906, 46974)
    rows = [("Innodb_redo_log_current_lsn", "20"), ("Innodb_redo_log_flushed_to_disk_lsn", "10")]
    assert MYSQL.lsn.parse(rows) == (10, 20)


def test_lsns_of_old_servers_come_from_the_engine_status():
    assert MYSQL56.lsn.parse([("InnoDB", "", ENGINE_STATUS)]) == (19375035, 19375045)


def test_a_server_that_does_not_tell_its_lsn_is_refused():
    for dialect, rows in ((MARIADB, []), (MYSQL56, [("InnoDB", "", "nothing")]), (MYSQL56, [])):
        with pytest.raises(ServerRefused):
            dialect.lsn.parse(rows)


def test_log_status_gives_one_atomic_answer():
    row = {
        "LOCAL": json.dumps(
            {"gtid_executed": "a:1-4,\nb:1", "binary_log_file": "binlog.000002", "binary_log_position": 198}
        ),
        "REPLICATION": json.dumps({"channels": [{"channel_name": "", "relay_log_file": "r", "relay_log_position": 4}]}),
        "STORAGE_ENGINES": json.dumps({"InnoDB": {"LSN": 19375055, "LSN_checkpoint": 19375000}}),
    }
    point = MYSQL.position.parse([[row]])
    assert (point.file, point.position, point.gtid, point.lsn) == ("binlog.000002", 198, "a:1-4,b:1", 19375055)
    assert point.channels == ("",)


def test_log_status_without_binlog_has_a_position_all_the_same():
    row = {"LOCAL": "{}", "REPLICATION": None, "STORAGE_ENGINES": '{"InnoDB": {"LSN": 7}}'}
    point = MYSQL.position.parse([[row]])
    assert (point.file, point.position, point.lsn) == ("", 0, 7)


def test_mariadb_position_takes_the_binlogs_gtid():
    status = {"File": "binlog.000001", "Position": 921, "Binlog_Do_DB": ""}
    point = MARIADB.position.parse([[status], [{"binlog_pos": "0-1-4", "current_pos": "0-1-9"}]])
    assert (point.file, point.position, point.gtid, point.lsn) == ("binlog.000001", 921, "0-1-4", None)


def test_mariadb_replica_without_binlog_still_has_a_gtid():
    point = MARIADB.position.parse([[], [{"binlog_pos": "", "current_pos": "0-1-9"}]])
    assert (point.file, point.gtid) == ("", "0-1-9")


def test_old_mysql_without_binlog_has_no_position():
    assert MYSQL56.position.parse([[], [{"gtid_mode": "OFF"}]]).file == ""


@pytest.mark.parametrize(("mode", "gtid"), [("ON", "u:1-3,v:1"), ("ON_PERMISSIVE", "u:1-3,v:1"), ("OFF", "")])
def test_a_gtid_set_that_stands_still_is_no_position(mode, gtid):
    row = {"File": "b.000003", "Position": 120, "Executed_Gtid_Set": "u:1-3,\nv:1"}
    point = MYSQL56.position.parse([[row], [{"gtid_mode": mode}]])
    assert (point.file, point.position, point.gtid) == ("b.000003", 120, gtid)


def test_replica_rows_of_all_servers_mean_the_same():
    mysql = {
        "Channel_Name": "east", "Source_Host": "h", "Source_Port": 3306, "Relay_Source_Log_File": "b.7",
        "Exec_Source_Log_Pos": 99, "Executed_Gtid_Set": "u:1", "Auto_Position": 1, "Replica_SQL_Running": "Yes",
    }
    mariadb = {
        "Connection_name": "east", "Master_Host": "h", "Master_Port": 3306, "Relay_Master_Log_File": "b.7",
        "Exec_Master_Log_Pos": 99, "Gtid_Slave_Pos": "u:1", "Using_Gtid": "Slave_Pos", "Slave_SQL_Running": "Yes",
    }
    state = replica_state(mysql)
    assert state == replica_state(mariadb)
    assert (state.channel, state.source_log_file, state.source_log_pos) == ("east", "b.7", 99)
    assert state.auto_position and state.sql_running


@pytest.mark.parametrize(
    ("version", "stop"),
    [
        ("9.7.4", "STOP REPLICA SQL_THREAD FOR CHANNEL 'it''s'"),
        ("8.0.20", "STOP SLAVE SQL_THREAD FOR CHANNEL 'it''s'"),
        ("5.6.24", "STOP SLAVE SQL_THREAD"),
        ("10.11.2-MariaDB", "STOP SLAVE 'it''s' SQL_THREAD"),
    ],
)
def test_a_channel_is_named_as_the_server_wants_it(version, stop):
    words = choose(version).replica
    assert words.stop_sql.format(channel=words.named("it's")) == stop
    assert words.stop_sql.format(channel=words.named("")).split() == stop.split("FOR")[0].replace("'it''s'", "").split()
