"""tar streams: written so that GNU tar reads them, read so that damage and hostile names are errors."""

from __future__ import annotations

import io
import subprocess
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldcopy.formats import tarstream
from goldcopy.formats.xbstream import End, Payload

FILES = {"ibdata1": b"x" * 1000, "db/" + "n" * 120 + "/t.ibd": bytes(512), "db/é.frm": b"", "a" * 99: b"1"}


def archive(files: dict[str, bytes]) -> bytes:
    parts = [tarstream.header(p, len(d), 1_700_000_000) + d + tarstream.padding(len(d)) for p, d in files.items()]
    return b"".join(parts) + tarstream.END


def decode(data: bytes, step: int | None = None, absolute: bool = False) -> dict[str, bytes]:
    decoder, files, whole = tarstream.Decoder(absolute=absolute), dict[str, bytearray](), dict[str, bytes]()
    step = step or len(data) or 1
    for at in range(0, len(data), step):
        for event in decoder.feed(data[at : at + step]):
            if isinstance(event, Payload):
                assert event.offset == len(files.setdefault(event.path, bytearray()))
                files[event.path] += event.data
            elif isinstance(event, End):
                whole[event.path] = bytes(files.pop(event.path, b""))
                assert len(whole[event.path]) == event.size
    assert decoder.finish() == []
    return whole


@pytest.mark.parametrize("step", [1, 100, 512, 1 << 20])
def test_pieces_of_any_size(step):
    assert decode(archive(FILES), step) == FILES


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
    decoder = tarstream.Decoder()
    (first,) = decoder.feed(tarstream.header("big.ibd", size) + b"start")
    assert (first.path, bytes(first.data)) == ("big.ibd", b"start")


@pytest.mark.parametrize("form", ["pax", "gnu", "ustar"])
def test_archives_of_others_are_read(form, tmp_path):
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / ("n" * 90 + ".ibd")).write_bytes(b"pages")
    done = subprocess.run(["tar", "-c", f"--format={form}", "-C", tmp_path, "db"], capture_output=True, check=True)
    assert list(decode(done.stdout).values()) == [b"pages"]


def test_zero_records_in_between_mean_nothing():
    assert decode(archive({"a": b"1"}) + archive({"b": b"2"})) == {"a": b"1", "b": b"2"}


def test_a_cut_anywhere_is_found():
    data = archive({"a": b"1", "b": b""})
    for at in range(1, len(data) - 1023):
        with pytest.raises(ValueError):
            decode(data[:at])


def test_a_damaged_header_is_an_error_and_not_the_end():
    data = archive({"a": b"1", "b": b"2"})
    for at in range(1024, 1024 + 300):
        damaged = bytearray(data)
        damaged[at] ^= 1
        try:
            # bytes around a number mean nothing; all others are summed up
            assert decode(bytes(damaged)) == {"a": b"1", "b": b"2"}, f"byte {at}"
            assert 148 <= at - 1024 < 156
        except ValueError:
            pass


def member(**fields) -> bytes:
    info = tarfile.TarInfo(fields.pop("name", "x"))
    for name, value in fields.items():
        setattr(info, name, value)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape") + tarstream.END


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../b", "a/.."])
def test_names_that_lead_elsewhere_are_refused(name):
    with pytest.raises(ValueError):
        decode(member(name=name))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind):
    with pytest.raises(ValueError, match="no plain file"):
        decode(member(type=kind, linkname="/etc"))


def test_a_damaged_pax_header_is_an_error():
    good = tarstream.header("é" * 80, 0)
    at = good.index(b" path=")
    for wrong in (b"3", b"99", b"-1"):
        with pytest.raises(ValueError):
            decode(good[: at - len(wrong)] + wrong + good[at:] + tarstream.END)


names = st.text("abcé._-", min_size=1, max_size=200).filter(lambda s: s.strip(".") and len(s.encode()) < 255)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(names, st.binary(max_size=1500), max_size=4), st.integers(1, 2000))
def test_any_files_come_back(files, step):
    assert decode(archive(files), step) == files
