"""Ending the wrong query loses a user's work; ending none leaves the server locked."""

import pytest

from goldcopy.errors import ServerRefused
from goldcopy.events import Event, Note, silent
from goldcopy.server import queries
from goldcopy.server.queries import RunningQuery, may_be_ended, running_queries, wait_for_long_queries


def query(sql, seconds=100.0, connection_id=7):
    return RunningQuery(connection_id, "app", seconds, "", sql)


@pytest.mark.parametrize(
    ("sql", "only_reads"),
    [
        ("SELECT 1", True),
        ("  (select a from t)", True),
        ("/* hint */ SELECT 1", True),
        ("-- note\nSELECT 1", True),
        ("WITH x AS (SELECT 1) SELECT * FROM x", True),
        ("WITH x AS (SELECT 1) DELETE FROM t", False),
        ("TABLE t", True),
        ("UPDATE t SET a = 1", False),
        ("INSERT INTO t SELECT 1", False),
        ("ALTER TABLE t ADD b int", False),
        ("CALL p()", False),
        ("SELECTED", False),
    ],
)
def test_a_statement_that_only_reads_is_known_by_its_words(sql, only_reads):
    assert query(sql).only_reads is only_reads


@pytest.mark.parametrize(
    ("sql", "kind", "lock", "ended"),
    [
        ("SELECT sleep(99)", "select", "all", True),
        ("SELECT sleep(99)", "select", "writes", False),
        ("SELECT sleep(99)", "all", "ddl", False),
        ("UPDATE t SET a = 1", "select", "all", False),
        ("UPDATE t SET a = 1", "all", "all", True),
        ("INSERT INTO myisam SELECT sleep(9)", "all", "writes", True),
        ("ALTER TABLE t ENGINE=InnoDB", "all", "ddl", True),
        ("ALTER TABLE t ENGINE=InnoDB", "select", "ddl", False),
        ("BACKUP STAGE BLOCK_COMMIT", "all", "writes", False),
        ("FLUSH TABLES WITH READ LOCK", "all", "all", False),
    ],
)
def test_only_what_can_be_in_the_way_and_was_given_up_is_ended(sql, kind, lock, ended):
    assert may_be_ended(query(sql), kind, lock, waited_s=50) is ended


def test_what_came_after_us_waits_for_us_and_is_spared():
    assert not may_be_ended(query("SELECT 1", seconds=3), "all", "all", waited_s=20)


class Session:
    """Answers SHOW FULL PROCESSLIST from a list of lists, the last one again and again."""

    connection_id = 1

    def __init__(self, *answers):
        self.answers = list(answers)

    def records(self, _sql):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def row(connection_id, sql, seconds=100, command="Query", user="app"):
    return {"Id": connection_id, "User": user, "Command": command, "Time": seconds, "State": "", "Info": sql}


def test_the_server_and_we_ourselves_are_not_in_the_list():
    session = Session(
        [
            row(1, "SHOW FULL PROCESSLIST"), row(2, None, command="Sleep"), row(3, "UPDATE t", user="system user"),
            row(4, "Binlog", command="Binlog Dump"), row(5, "SELECT 5", seconds=None), row(6, "SELECT 6"),
            row(8, "SELECT 8"),
        ]
    )
    assert [q.connection_id for q in running_queries(session, own=(8,))] == [6, 5]


def test_waiting_ends_when_the_long_query_does(monkeypatch):
    monkeypatch.setattr(queries, "_POLL_S", 0.0)
    session = Session([row(6, "SELECT 1")], [row(6, "SELECT 1")], [row(6, "SELECT 1", seconds=2)])
    said: list[Event] = []
    wait_for_long_queries(session, said.append, threshold_s=60, timeout_s=30, kind="all")
    assert len(session.answers) == 1
    assert said == [
        Note("Waiting 30 seconds for queries running longer than 60 seconds to finish"),
        Note("Waiting for query 6 (duration 100 sec): SELECT 1"),
    ]


def test_waiting_in_vain_names_the_query(monkeypatch):
    monkeypatch.setattr(queries, "_POLL_S", 0.0)
    with pytest.raises(ServerRefused, match="SELECT 1") as refused:
        wait_for_long_queries(Session([row(6, "SELECT 1")]), silent, threshold_s=60, timeout_s=0, kind="all")
    assert refused.value.hint


def test_reading_queries_do_not_count_when_only_updates_are_waited_for():
    # it would raise: no time is left to wait
    wait_for_long_queries(Session([row(6, "SELECT 1")]), silent, threshold_s=60, timeout_s=0, kind="update")
