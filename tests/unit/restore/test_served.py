"""A recovered server that fails at a question is a message to a person, not a traceback."""

from __future__ import annotations

from types import SimpleNamespace

import pymysql
import pytest

from goldcopy.errors import RecoveryFailed
from goldcopy.restore.served import asked


class Connection:
    """Of a server that refuses every statement."""

    def cursor(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        pass

    def close(self):
        pass

    def execute(self, _sql):
        raise pymysql.err.OperationalError(1030, "Got error 168 from storage engine")


def test_what_a_server_answers_unexpectedly_is_told(monkeypatch):
    monkeypatch.setattr(pymysql, "connect", lambda **_: Connection())
    with pytest.raises(RecoveryFailed, match="error 168"), asked(SimpleNamespace(socket_path="s")) as cursor:
        cursor.execute("CHECK TABLE t")
