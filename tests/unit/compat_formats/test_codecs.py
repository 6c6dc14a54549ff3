"""What is compressed or encrypted comes back, by our reader and by the tools everybody has."""

from __future__ import annotations

import shutil
import struct
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldcopy.errors import BackupInvalid, KeyMissing
from goldcopy.image import codecs
from goldcopy.image.codecs import Encrypt, Lz4, Unwrapper, Wrapping, Zstd

KEY = codecs.cipher("AES256", b"0123456789abcdef" * 2)
BLOCKS = [b"page " * 5000, bytes(70000), b"x"]
ALL = [
    Wrapping([Zstd()]),
    Wrapping([Zstd(19)]),
    Wrapping([Lz4()]),
    Wrapping([Encrypt(KEY)]),
    Wrapping([Zstd(), Encrypt(KEY, 1024)]),
    Wrapping([Lz4(1 << 20), Encrypt(KEY)]),
]
ids = [f"{i}{w.suffix}" for i, w in enumerate(ALL)]


def unwrap(data: bytes, name: str, step: int | None = None, key=KEY) -> bytes:
    unwrapper = Unwrapper(name, codecs.split(name)[1], key)
    step = step or len(data) or 1
    out = [piece for at in range(0, len(data), step) for piece in unwrapper.feed(data[at : at + step])]
    return b"".join(out + list(unwrapper.finish()))


@pytest.mark.parametrize("wrapping", ALL, ids=ids)
@pytest.mark.parametrize("step", [997, 1 << 20])
def test_blocks_behind_each_other_are_one_file(wrapping, step):
    data = b"".join(wrapping.encode(memoryview(b)) for b in BLOCKS)
    assert unwrap(data, "t.ibd" + wrapping.suffix, step) == b"".join(BLOCKS)


@pytest.mark.parametrize("wrapping", ALL, ids=ids)
def test_an_empty_file_stays_one(wrapping):
    assert unwrap(wrapping.empty(), "t" + wrapping.suffix) == b""


@pytest.mark.parametrize("wrapping", ALL, ids=ids)
def test_a_cut_inside_is_found(wrapping):
    block = b"some text, some text" * 3
    data = wrapping.encode(block)
    for at in range(1, len(data)):
        with pytest.raises(BackupInvalid):
            unwrap(data[:at], "t" + wrapping.suffix)


@pytest.mark.parametrize("wrapping", ALL, ids=ids)
def test_a_flipped_bit_never_changes_a_file_unnoticed(wrapping):
    block = b"some text, some text" * 20
    data = wrapping.encode(block)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 2
        try:
            assert unwrap(bytes(damaged), "t" + wrapping.suffix) == block
        except (BackupInvalid, KeyMissing):
            pass


@pytest.mark.parametrize(("tool", "encoder"), [("zstd", Zstd()), ("lz4", Lz4()), ("lz4", Lz4(300000))])
def test_the_tools_read_what_we_write_and_we_what_they_write(tool, encoder, tmp_path):
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool} here")
    data = b"".join(encoder.encode(b) for b in BLOCKS)
    there = subprocess.run([tool, "-dc"], input=data, capture_output=True, check=True).stdout
    assert there == b"".join(BLOCKS)
    assert subprocess.run([tool, "-dc"], input=encoder.empty(), capture_output=True, check=True).stdout == b""
    back = subprocess.run([tool, "-c"], input=b"".join(BLOCKS), capture_output=True, check=True).stdout
    assert unwrap(back, "t" + encoder.suffix) == b"".join(BLOCKS)


@pytest.mark.parametrize(
    ("chunk_bytes", "bd"),
    [(1024, 4), (65536, 4), (65537, 5), (262144, 5), (1 << 20, 6), ((1 << 20) + 1, 7), (9 << 20, 7)],
)
def test_lz4_frames_are_as_xtrabackup_writes_them(chunk_bytes, bd):
    # a frame that needs no larger block says so: more than one block's worth
    frame = Lz4(chunk_bytes).encode(bytes(5 << 20))
    assert struct.unpack_from("<IBBQ", frame) == (0x184D2204, 0x6C, bd << 4, 5 << 20)


def test_zstd_frames_carry_their_checksum():
    frame = Zstd().encode(b"abc" * 1000)
    assert frame[:4] == b"\x28\xb5\x2f\xfd"
    assert frame[4] & 4, "checksum flag"


def test_names_lose_their_suffixes_from_the_outside():
    assert codecs.split("db/t.ibd.zst.xbcrypt") == ("db/t.ibd", (".xbcrypt", ".zst"))
    assert codecs.split("db/t.ibd.zst.xbcrypt", decrypt=False) == ("db/t.ibd.zst.xbcrypt", ())
    assert codecs.split("db/t.ibd.zst.xbcrypt", decompress=False) == ("db/t.ibd.zst", (".xbcrypt",))
    assert codecs.split("db/t.ibd") == ("db/t.ibd", ())
    assert codecs.split("db/.zst") == ("db/.zst", ())
    assert codecs.split(".qp") == (".qp", ())


def test_a_bomb_comes_in_bounded_pieces():
    data = Zstd(19).encode(bytes(64 << 20))
    assert len(data) < 10000
    pieces = [len(p) for p in Unwrapper("bomb", (".zst",)).feed(data)]
    assert sum(pieces) == 64 << 20
    assert max(pieces) <= codecs.PIECE_BYTES


def test_an_encrypted_file_without_a_key_or_with_another_one():
    with pytest.raises(KeyMissing):
        Unwrapper("t.xbcrypt", (".xbcrypt",))
    other = codecs.cipher("AES256", b"f" * 32)
    with pytest.raises(KeyMissing, match=r"t\.xbcrypt"):
        unwrap(Encrypt(KEY).encode(b"data"), "t.xbcrypt", key=other)


def test_no_iv_is_used_twice():
    data = Encrypt(KEY, 1024).encode(bytes(4096))
    ivs = {data[i + 44 : i + 60] for i in range(0, len(data), 1024 + 32 + 60)}
    assert len(ivs) == 4


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=2000), max_size=4), st.integers(1, 700), st.sampled_from(ALL))
def test_any_blocks_come_back(blocks, step, wrapping):
    data = b"".join(wrapping.encode(b) for b in blocks) or wrapping.empty()
    assert unwrap(data, "t" + wrapping.suffix, step) == b"".join(blocks)
