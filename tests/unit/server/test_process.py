"""A server that recovers a backup is not waited for when it has given up."""

from __future__ import annotations

import pytest

from goldcopy.errors import NoSpace
from goldcopy.events import silent
from goldcopy.server import process


def test_a_server_whose_engine_has_given_up_may_not_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "_DYING_S", 0.2)
    server, log = tmp_path / "mysqld", tmp_path / "log"
    server.write_text(
        f"#!/bin/sh\necho '[ERROR] InnoDB: preallocating failed with error 28' >> {log}\n"
        f"echo '[ERROR] InnoDB: Plugin initialization aborted with error Generic error' >> {log}\nexec sleep 60\n"
    )
    server.chmod(0o700)
    with process.RecoveryRun(str(server), str(tmp_path), [], str(log), silent) as run, pytest.raises(NoSpace):
        run.wait_ready()
