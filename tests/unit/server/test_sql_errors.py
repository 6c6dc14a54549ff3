"""An error of the client library that nobody maps reaches the user as a traceback without a hint."""

import pymysql
import pytest

from goldcopy.errors import ConnectFailed, GoldcopyError, PrivilegeMissing, ServerRefused, Unsupported
from goldcopy.server.sql_errors import BY_CLASS, connect_error, number_of, statement_error


def classes():
    return {
        name: cls
        for name, cls in vars(pymysql.err).items()
        if isinstance(cls, type) and issubclass(cls, Exception) and cls.__module__.startswith("pymysql")
    }


def test_every_error_of_pymysql_is_mapped():
    assert set(BY_CLASS) == set(classes())
    for cls in classes().values():
        assert isinstance(statement_error(cls(99999, "what"), "SELECT 1"), GoldcopyError)
        assert isinstance(connect_error(cls(99999, "what"), "/s", "u"), ConnectFailed)


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (pymysql.err.OperationalError(1142, "SELECT command denied"), PrivilegeMissing),
        (pymysql.err.OperationalError(1044, "denied to database"), PrivilegeMissing),
        (pymysql.err.OperationalError(1227, "you need RELOAD"), PrivilegeMissing),
        (pymysql.err.OperationalError(1370, "execute denied"), PrivilegeMissing),
        (pymysql.err.OperationalError(2006, "gone away"), ServerRefused),
        (pymysql.err.OperationalError(2013, "lost"), ServerRefused),
        (pymysql.err.InterfaceError(0, ""), ServerRefused),
        (pymysql.err.OperationalError(1205, "lock wait timeout"), ServerRefused),
        (pymysql.err.ProgrammingError(1064, "syntax"), ServerRefused),
        (pymysql.err.NotSupportedError(1235, "no"), Unsupported),
        (ConnectionResetError("reset"), ServerRefused),
    ],
)
def test_a_failed_statement_means_one_of_our_errors(error, ours):
    assert type(statement_error(error, "LOCK INSTANCE FOR BACKUP")) is ours


@pytest.mark.parametrize("number", [2006, 2013, 1205])
def test_what_the_user_can_do_about_it_is_said(number):
    assert statement_error(pymysql.err.OperationalError(number, "x"), "SELECT 1").hint


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (pymysql.err.OperationalError(1045, "Access denied"), "MYSQL_PWD"),
        (pymysql.err.OperationalError(1698, "Access denied"), "MYSQL_PWD"),
        (pymysql.err.OperationalError(2003, "Can't connect"), "--socket"),
        (FileNotFoundError(2, "No such file"), "--socket"),
        (pymysql.err.OperationalError(1040, "Too many connections"), "max_connections"),
        (pymysql.err.OperationalError(1226, "exceeded the resource"), "MAX_USER_CONNECTIONS"),
        (pymysql.err.OperationalError(4151, "this account is locked"), "ACCOUNT UNLOCK"),
    ],
)
def test_a_failed_login_says_what_to_do(error, word):
    assert word in connect_error(error, "/run/s.sock", "backup").hint


def test_the_number_is_found_behind_our_own_error():
    try:
        try:
            raise pymysql.err.OperationalError(1205, "x")
        except pymysql.err.Error as e:
            raise statement_error(e, "q") from e
    except GoldcopyError as e:
        assert number_of(e) == 1205
    assert number_of(ValueError("x")) == -1
