"""A backup whose server is installed somewhere unusual must not be one that nobody can recover."""

from __future__ import annotations

import pytest

from goldcopy.errors import Unsupported
from goldcopy.server.binary import find_server_binary, home_options


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts programs that call themselves a server of a version into a folder, the only one there is."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("goldcopy.server.binary._USUAL_DIRS", ())

    def put(folder: str, version: str) -> str:
        program = tmp_path / folder / "mysqld"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\necho '{program}  Ver {version} for Linux on x86_64 (MySQL Community Server)'\n")
        program.chmod(0o755)
        return str(program)

    return put


def test_the_sources_own_installation_is_looked_at(install, tmp_path):
    program = install("opt/mysql-8.0.45/bin", "8.0.45")
    with pytest.raises(Unsupported, match="no server binary"):
        find_server_binary("mysql", "8.0.45")
    assert find_server_binary("mysql", "8.0.45", home=str(tmp_path / "opt/mysql-8.0.45")) == program


def test_what_lies_there_now_must_be_of_the_backups_version(install, tmp_path):
    install("opt/mysql/bin", "8.0.46")
    with pytest.raises(Unsupported, match="dictionary"):
        find_server_binary("mysql", "8.0.45", home=str(tmp_path / "opt/mysql"))


def test_a_home_that_is_no_absolute_path_is_not_looked_at(install, tmp_path, monkeypatch):
    install("opt/bin", "8.0.45")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Unsupported):
        find_server_binary("mysql", "8.0.45", home="opt")


def test_a_relocated_server_is_told_where_its_messages_are(install, tmp_path):
    program = install("opt/bin", "5.6.24")
    assert home_options(program) == ()
    (tmp_path / "opt/share").mkdir()
    assert home_options(program) == (f"--basedir={tmp_path / 'opt'}",)
    assert home_options("/usr/sbin/mysqld") == ()
