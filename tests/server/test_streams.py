"""A backup sent through a pipe under load, DDL included, is as good as one in a directory; also by the real mbstream."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import IO

import pytest

from goldcopy.capture.engine import Capture
from goldcopy.commands.backup import Backup, take
from goldcopy.events import silent
from goldcopy.image import codecs
from goldcopy.image.extract import extract, settle
from goldcopy.image.stream import StreamSink
from goldcopy.image.tarsink import TarSink
from goldcopy.options import Connection
from goldcopy.server.instance import open_instance
from lab import catalogue, program, schema
from lab.load import USUAL, Load
from lab.oracle import check_restored, snapshot
from lab.server import LabServer

from .conftest import MakeServer

KEY = codecs.cipher("AES256", b"0123456789abcdef" * 2)


def sink_of(kind: str, out: IO[bytes]) -> StreamSink:
    """The sink of a kind of stream."""
    match kind:
        case "tar":
            return TarSink(out)
        case "chunks":
            return StreamSink([out], changes="chunks")
        case "lz4":
            return StreamSink([out], wrapping=codecs.Wrapping([codecs.Lz4()]), threads=2)
        case "zstd+aes":
            return StreamSink([out], wrapping=codecs.Wrapping([codecs.Zstd(), codecs.Encrypt(KEY)]), threads=2)
    raise ValueError(kind)


def send(source: LabServer, kind: str, out: IO[bytes]) -> None:
    """Take a backup into ``out``."""
    command = Backup(to="", parallel=1 if kind == "tar" else 3, throttle_mb=12.0)
    connection = Connection(socket=str(source.socket), user="root")
    with (
        open_instance(connection) as instance,
        sink_of(kind, out) as sink,
        Capture(instance, sink, None, command.capture_options(), silent) as capture,
    ):
        take(capture, silent)


def receive(kind: str, stream: IO[bytes], directory: Path, server_name: str) -> None:
    """Read it with the real program where that knows all that is in it, else with ours."""
    if kind in ("chunks", "tar"):
        directory.mkdir()
        real = [catalogue.home() / server_name / "bin" / "mbstream", "-x"] if kind == "chunks" else ["tar", "-xi"]
        subprocess.run([*real, "-C", directory], stdin=stream, check=True)
        settle(str(directory))
    else:
        extract([stream], str(directory), decompress=True, key=KEY)


def through_a_pipe(source: LabServer, kind: str, directory: Path, server_name: str) -> None:
    """Send and receive at once, with nothing but a pipe between."""
    r, w = os.pipe()
    failed: list[BaseException] = []

    def writer() -> None:
        try:
            with open(w, "wb") as out:
                send(source, kind, out)
        except BaseException as e:
            failed.append(e)

    thread = threading.Thread(target=writer)
    thread.start()
    try:
        with open(r, "rb") as stream:
            receive(kind, stream, directory, server_name)
    finally:
        thread.join()
        if failed:
            raise failed[0]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("server_name", "kind"),
    [("mariadb-11.8", "chunks"), ("mariadb-10.11", "zstd+aes"), ("mysql-9.7", "lz4"), ("mysql-8.0", "tar")],
)
def test_nothing_is_lost_on_the_way(server_name: str, kind: str, make_server: MakeServer, lab_dir: Path) -> None:
    source = make_server(server_name)
    schema.setup(source, 7)
    backup = lab_dir / "backup"
    with Load(source, 7, USUAL) as load:
        load.go_on(1.0)
        through_a_pipe(source, kind, backup, server_name)
        load.go_on(1.0)
    want = snapshot(source)
    with program.restore(source, backup, lab_dir) as restored:
        restored.start("--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0")
        check_restored(want, restored, program.point(backup), source.binlogs(), source=source)
