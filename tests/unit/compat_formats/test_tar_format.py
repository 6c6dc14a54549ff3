"""tar streams as ``--stream=tar`` writes them: GNU tar reads them, and they look as those of XtraBackup 2.4."""

from __future__ import annotations

import io
import subprocess
import tarfile

from hypothesis import given, settings
from hypothesis import strategies as st

from goldcopy.formats import tarstream

FILES = {"ibdata1": b"x" * 1000, "db/" + "n" * 120 + "/t.ibd": bytes(512), "db/é.frm": b"", "a" * 99: b"1"}


def archive(files: dict[str, bytes]) -> bytes:
    parts = [tarstream.header(p, len(d), 1_700_000_000) + d + tarstream.padding(len(d)) for p, d in files.items()]
    return b"".join(parts) + tarstream.END


def test_gnu_tar_reads_it(tmp_path):
    subprocess.run(["tar", "-xif", "-", "-C", tmp_path], input=archive(FILES), check=True)
    assert {p: (tmp_path / p).read_bytes() for p in FILES} == FILES


def test_headers_are_those_of_xtrabackup():
    head = tarstream.header("db/t.ibd", 4096, 1_700_000_000)
    assert len(head) == 512
    assert head[:9] == b"db/t.ibd\0"
    assert head[100:108] == b"0000660\0"
    assert head[108:124] == b"0000000\0" * 2
    assert head[156:157] == b"0"
    assert head[257:265] == b"ustar\x0000"


def test_a_file_beyond_8_gib_gets_a_pax_header():
    size = 20 << 30
    info = tarfile.open(fileobj=io.BytesIO(tarstream.header("big.ibd", size)), mode="r:").next()
    assert info is not None
    assert (info.name, info.size) == ("big.ibd", size)


names = st.text("abcé._-", min_size=1, max_size=200).filter(lambda s: s.strip(".") and len(s.encode()) < 255)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(names, st.binary(max_size=1500), max_size=4))
def test_any_files_come_back(files):
    found = tarfile.open(fileobj=io.BytesIO(archive(files)), mode="r:")
    assert {info.name: found.extractfile(info).read() for info in found} == files
