"""Both ways with the real mbstream of every MariaDB series."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from goldcopy.formats import xbstream
from goldcopy.image.manifest import MANIFEST_NAME
from goldcopy.image.stream import StreamSink
from lab import catalogue
from lab.manifests import manifest

SERIES = ["mariadb-10.5", "mariadb-10.11", "mariadb-11.8"]
OURS = [sys.executable, "-c", "import sys; from goldcopy.compat.xbstream_main import mbstream as f; sys.exit(f())"]

pytestmark = pytest.mark.server


@pytest.fixture(params=SERIES)
def server_name(request) -> str:
    return request.param


@pytest.fixture
def real(server_name) -> list[str]:
    program = catalogue.home() / server_name / "bin" / "mbstream"
    if not program.exists():
        pytest.skip(f"{server_name} is not here")
    return [str(program)]


@pytest.fixture
def data(tmp_path) -> Path:
    where = tmp_path / "data"
    for name, size in {"ibdata1": 12 << 20, "db/t.ibd": 10 << 20, "db/small": 1000, "empty": 0}.items():
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).write_bytes(random.Random(size).randbytes(size))
    return where


def tree(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def pack(program: list[str], where: Path) -> bytes:
    names = sorted(tree(where))
    return subprocess.run([*program, "-c", *names], cwd=where, capture_output=True, check=True).stdout


def unpack(program: list[str], stream: bytes, where: Path, *options: str) -> dict[str, bytes]:
    where.mkdir()
    subprocess.run([*program, "-x", *options, "-C", where], input=stream, check=True, capture_output=True)
    return tree(where)


def test_the_real_one_reads_ours(real, data, tmp_path):
    assert unpack(real, pack(OURS, data), tmp_path / "out") == tree(data)
    assert unpack(real, pack(OURS, data), tmp_path / "out4", "-p", "4") == tree(data)


def test_ours_reads_the_real_one(real, data, tmp_path):
    assert unpack(OURS, pack(real, data), tmp_path / "out") == tree(data)


def test_small_files_give_the_same_bytes(real, data):
    names = ["db/small", "empty"]
    both = [
        subprocess.run([*program, "-c", *names], cwd=data, capture_output=True, check=True).stdout
        for program in (real, OURS)
    ]
    assert both[0] == both[1]


def test_a_backup_of_ours_is_read_by_the_real_one(server_name, real, tmp_path):
    """Renames, removals and seeks as chunks only where the series knows them."""
    chunks = server_name != "mariadb-10.5"
    with open(tmp_path / "stream", "wb") as f, StreamSink([f], changes="chunks" if chunks else "list") as sink:
        for i in range(3):
            out = sink.open_whole(f"db{i}/t.ibd", size=3 << 20, page_size=16384)
            for at in range(0, 3 << 20, 1 << 20):
                out.write_at(at, memoryview(bytes([i]) * (1 << 20)))
            out.finish(3 << 20)
        if chunks:
            sink.rename_space("db0/t.ibd", "db1/new.ibd")
            sink.remove_space("db2/t.ibd")
        sink.commit(manifest())
    stream = (tmp_path / "stream").read_bytes()
    found = unpack(real, stream, tmp_path / "out")
    if chunks:
        assert set(found) == {"db1/t.ibd", "db1/new.ibd", MANIFEST_NAME}
        assert found["db1/new.ibd"] == bytes(3 << 20)
    else:
        assert set(found) == {"db0/t.ibd", "db1/t.ibd", "db2/t.ibd", MANIFEST_NAME}
    assert found["db1/t.ibd"] == b"\1" * (3 << 20)


def test_a_failed_backup_is_an_error_for_the_real_one(real, tmp_path):
    with open(tmp_path / "stream", "wb") as f, StreamSink([f]) as sink:
        sink.put_file("t").finish()
    done = subprocess.run([*real, "-x", "-C", tmp_path], input=(tmp_path / "stream").read_bytes(), capture_output=True)
    assert done.returncode != 0


def test_seeks_mean_the_same_to_both(server_name, real, tmp_path):
    if server_name == "mariadb-10.5":
        pytest.skip("10.5 knows no seeks")

    def chunk(offset: int, data: bytes) -> bytes:
        return xbstream.payload_header("f", offset, data) + data

    stream = chunk(0, b"abcdef") + xbstream.seek("f", 2) + chunk(2, b"XY") + xbstream.seek("f", 9) + chunk(9, b"z")
    stream += xbstream.end("f")
    assert unpack(real, stream, tmp_path / "real") == unpack(OURS, stream, tmp_path / "ours") == {
        "f": b"abXYef\0\0\0z"
    }
