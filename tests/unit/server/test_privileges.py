"""A missing privilege must be told before the backup starts, with the GRANT that helps."""

from goldcopy.dialect import choose
from goldcopy.server.privileges import Grant, grant_hint, missing, parse_grants

MYSQL, MARIADB = choose("9.7.4").needs, choose("10.11.2-MariaDB").needs


def needs(all_needs, *features):
    return [n for n in all_needs if n.feature in ("backup", "binlog", *features)]


def names(lacking):
    return [n.any_of[0] for n in lacking]


def test_what_mysql_says_is_read():
    grants = parse_grants(
        [
            "GRANT RELOAD, PROCESS, REPLICATION CLIENT ON *.* TO `b`@`localhost`",
            "GRANT BACKUP_ADMIN,CONNECTION_ADMIN ON *.* TO `b`@`localhost`",
            "GRANT SELECT ON `performance_schema`.`log_status` TO `b`@`localhost`",
            "GRANT `backup_role`@`%` TO `b`@`localhost`",
            "GRANT PROXY ON ``@`` TO `b`@`localhost` WITH GRANT OPTION",
        ]
    )
    assert grants[0] == Grant(frozenset({"RELOAD", "PROCESS", "REPLICATION CLIENT"}), "*.*")
    assert grants[2] == Grant(frozenset({"SELECT"}), "performance_schema.log_status")
    assert missing(grants, needs(MYSQL)) == []
    assert names(missing(grants, needs(MYSQL, "replica", "replica-position", "kill"))) == ["REPLICATION_SLAVE_ADMIN"]


def test_the_hint_is_the_exact_grant():
    lacking = missing(parse_grants(["GRANT RELOAD ON *.* TO `b`@`localhost`"]), needs(MYSQL))
    assert grant_hint(lacking, "b@localhost") == (
        "GRANT BACKUP_ADMIN, PROCESS ON *.* TO 'b'@'localhost'; "
        "GRANT SELECT ON performance_schema.log_status TO 'b'@'localhost';"
    )


def test_all_privileges_are_enough():
    line = "GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` IDENTIFIED VIA mysql_native_password WITH GRANT OPTION"
    assert missing(parse_grants([line]), MARIADB) == []
    assert missing(parse_grants(["GRANT ALL PRIVILEGES ON *.* TO 'root'@'localhost' WITH GRANT OPTION"]), MYSQL) == []


def test_a_privilege_on_one_schema_does_not_serve_globally():
    line = "GRANT ALL PRIVILEGES ON `app`.* TO `b`@`%`"
    assert names(missing(parse_grants([line]), needs(MARIADB))) == ["RELOAD", "BINLOG MONITOR"]


def test_a_schema_grant_covers_its_tables_and_underscores_may_be_escaped():
    line = "GRANT SELECT ON `performance\\_schema`.* TO `b`@`%`"
    assert "SELECT" not in names(missing(parse_grants([line]), needs(MYSQL)))


def test_older_names_of_a_privilege_serve():
    grants = parse_grants(["GRANT RELOAD, REPLICATION CLIENT, SUPER ON *.* TO `b`@`%`"])
    assert names(missing(grants, needs(MARIADB, "replica", "replica-position", "kill"))) == ["PROCESS"]


def test_a_grant_on_columns_is_read():
    grants = parse_grants(["GRANT SELECT (a, b), INSERT (a) ON `d`.`t` TO `b`@`%`"])
    assert grants == [Grant(frozenset({"SELECT", "INSERT"}), "d.t")]


def test_history_needs_its_schema():
    everything = parse_grants(["GRANT RELOAD, BINLOG MONITOR ON *.* TO `b`@`%`"])
    assert names(missing(everything, needs(MARIADB, "history"))) == ["CREATE", "INSERT", "SELECT"]
