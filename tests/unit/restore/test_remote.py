"""A recovering server sees a remote tablespace at its place, and other recoveries at the same time, too."""

from __future__ import annotations

import subprocess
from pathlib import Path

from goldcopy.restore.remote import Remote, shown


def remote(tmp_path: Path, name: str) -> Remote:
    """One backup's copy of a table whose directory is not there."""
    inside = tmp_path / name / "t.ibd"
    inside.parent.mkdir()
    inside.write_text(name)
    return Remote(f"{inside}.isl", str(inside), str(tmp_path / "far" / "d" / "t.ibd"))


def seen(program: str, where: str) -> str:
    return subprocess.run([program, where], capture_output=True, text=True, check=True).stdout


def test_a_directory_that_another_recovery_covers_is_not_taken_away(tmp_path):
    one, two = remote(tmp_path, "one"), remote(tmp_path, "two")
    first = shown([one], "/bin/cat")
    assert seen(first.__enter__(), one.outside) == "one"
    with (
        shown([two], "/bin/cat") as second,
        subprocess.Popen([second, "-", two.outside], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running,
    ):
        assert running.stdin and running.stdout
        running.stdin.write(b"up, ")
        running.stdin.flush()
        assert running.stdout.read(4) == b"up, "
        first.__exit__(None, None, None)
        running.stdin.close()
        assert running.stdout.read() == b"two"


def test_a_directory_that_was_made_for_it_goes_again(tmp_path):
    for name in ("one", "two"):
        with shown([remote(tmp_path, name)], "/bin/cat") as program:
            assert seen(program, str(tmp_path / "far" / "d" / "t.ibd")) == name
        assert not (tmp_path / "far").exists()
