"""Standard streams that are closed or full: no file and no connection is written to in their place, no work fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from goldcopy.compat.log import Log, Shape
from goldcopy.compat.options.declare import Face
from goldcopy.compat.options.parser import parse

PROGRAM = """
import os, sys
from goldcopy.startup import occupy_streams
occupy_streams()
with open("told", "w") as f:
    print(f.fileno() > 2, sys.stderr.write("to nobody"), file=f)
    sys.stderr.flush()
    for use in (lambda: os.read(0, 1), lambda: os.write(1, b"x")):
        try:
            use()
        except OSError as e:
            print(e.strerror, file=f)
"""


def test_what_is_closed_is_no_other_file(tmp_path):
    subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, PROGRAM], check=True, cwd=tmp_path
    )
    assert (tmp_path / "told").read_text() == "True 9\nBad file descriptor\nBad file descriptor\n"


@pytest.mark.parametrize(
    "command",
    ["goldcopy --help 2>&-", "xbstream -c file >&-", "xbstream -x <&-", "xtrabackup --help 2>&-", "xbcrypt -a NONE -i file >&-"],
)
def test_no_program_falls_over_a_closed_stream(tmp_path, command):
    (tmp_path / "file").write_text("content")
    said = subprocess.run(
        ["/bin/sh", "-c", f"{Path(sys.executable).parent}/{command}"], cwd=tmp_path, check=False, capture_output=True,
        text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "Traceback" not in said.stderr
    assert said.returncode == (0 if "2>&-" in command else 1)


def test_a_log_on_a_full_disk_fails_nothing():
    with open("/dev/full", "w") as full:
        log = Log(full, Shape.STRUCTURED)
        for _ in range(2):
            log.note("something")
        log.completed()


def test_a_target_whose_name_is_no_unicode_is_one():
    settings = parse(Face.XTRABACKUP, ["--backup", b"--target-dir=/b/\xff".decode("utf-8", "surrogateescape")])
    assert settings.text("target-dir") == "/b/\udcff"
    settings.command.encode()
