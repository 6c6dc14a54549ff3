"""Logging in with the wrong account, or at the wrong server, because an option file was read wrongly."""

import pytest

from goldcopy.errors import ConnectFailed, UsageError
from goldcopy.options import Connection
from goldcopy.server import session
from goldcopy.server.session import resolve


@pytest.fixture(autouse=True)
def own_world(monkeypatch, tmp_path):
    monkeypatch.delenv("MYSQL_PWD", raising=False)
    files = (str(tmp_path / "global"), str(tmp_path / "own"))
    monkeypatch.setattr(session.option_files, "default_files", lambda: files)
    monkeypatch.setattr(session, "_SOCKETS", (str(tmp_path / "usual.sock"),))
    (tmp_path / "usual.sock").touch()


def write(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_what_the_user_gives_wins_over_the_files(tmp_path):
    write(tmp_path / "own", "[client]\nuser=file\nsocket=/file.sock\npassword=secret\n")
    account = resolve(Connection(user="me", socket="/me.sock"))
    assert (account.user, account.socket, account.password) == ("me", "/me.sock", "secret")


def test_later_files_and_our_own_group_win(tmp_path):
    write(tmp_path / "global", "[client]\nuser=a\n[goldcopy]\nport=1\n[mysqld]\nuser=mysql\n")
    write(tmp_path / "own", "[goldcopy]\nuser=b\n")
    assert resolve(Connection()).user == "b"


def test_only_the_named_file_is_read(tmp_path):
    write(tmp_path / "own", "[client]\npassword=wrong\nuser=wrong\n")
    named = write(tmp_path / "named", "[client]\nuser=right\n")
    account = resolve(Connection(defaults_file=named))
    assert (account.user, account.password) == ("right", "")


def test_a_named_file_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(UsageError):
        resolve(Connection(defaults_file=str(tmp_path / "none")))


def test_the_password_comes_from_prompt_file_or_environment_in_this_order(tmp_path, monkeypatch):
    monkeypatch.setenv("MYSQL_PWD", "env")
    assert resolve(Connection()).password == "env"
    write(tmp_path / "own", "[client]\npassword='fi#le'\n")
    assert resolve(Connection()).password == "fi#le"
    assert resolve(Connection(password="typed")).password == "typed"


def test_who_has_no_name_on_the_machine_must_give_one(monkeypatch):
    monkeypatch.setattr("os.getuid", lambda: 123456)
    with pytest.raises(UsageError) as refused:
        resolve(Connection())
    assert "--user" in refused.value.hint
    assert resolve(Connection(user="b")).user == "b"


def test_a_password_is_never_shown():
    assert "hidden" not in repr(resolve(Connection(password="hidden")))


def test_localhost_means_the_socket_and_another_host_tcp(tmp_path):
    usual = str(tmp_path / "usual.sock")
    assert resolve(Connection()).socket == usual
    assert resolve(Connection(host="localhost")).socket == usual
    remote = resolve(Connection(host="db1", port=3307))
    assert (remote.socket, remote.host, remote.port) == ("", "db1", 3307)
    here = resolve(Connection(port=3307))
    assert (here.socket, here.host, here.port) == ("", "127.0.0.1", 3307)


def test_a_socket_in_a_file_does_not_override_a_host_that_was_given(tmp_path):
    write(tmp_path / "own", "[client]\nsocket=/file.sock\nport=3310\n")
    assert resolve(Connection(host="db1")).where == "db1:3310"
    assert resolve(Connection()).where == "/file.sock"


def test_no_socket_anywhere_says_how_to_give_one(monkeypatch):
    monkeypatch.setattr(session, "_SOCKETS", ("/nowhere/s",))
    with pytest.raises(ConnectFailed) as failed:
        resolve(Connection())
    assert "--socket" in failed.value.hint
