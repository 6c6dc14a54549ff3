"""Encrypted backups of every XtraBackup can be read, and a wrong key or a damaged byte is always said."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import zlib

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher as Library
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from goldcopy.formats import xbcrypt
from goldcopy.formats.xbcrypt import Cipher, Decoder, WrongKeyError

KEY = b"0123456789abcdef"
PLAIN = b"some pages" * 50


def aes(iv: bytes, data: bytes, key: bytes = KEY) -> bytes:
    return Library(algorithms.AES(key), modes.CTR(iv)).encryptor().update(data)


def chunk_by_hand(version: int, plain: bytes, iv: bytes = bytes(range(16))) -> bytes:
    """A chunk built from the description of the format, not with our encoder."""
    counter = iv if version == 3 else bytes(16)
    body = aes(counter, plain + (hashlib.sha256(plain).digest() if version == 3 else b""))
    head = b"XBCRYP0%d" % version + bytes(8) + struct.pack("<QQI", len(body), len(body), zlib.crc32(body))
    return head + (b"" if version == 1 else struct.pack("<Q", 16) + iv) + body


def decrypt(data: bytes, cipher: Cipher | None = None, step: int | None = None) -> bytes:
    decoder = Decoder(cipher or Cipher("AES128", KEY))
    step = step or len(data) or 1
    out = [piece for at in range(0, len(data), step) for piece in decoder.feed(data[at : at + step])]
    return b"".join(out + decoder.finish())


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("step", [1, 13, 100000])
def test_all_versions_are_read(version, step):
    data = chunk_by_hand(version, PLAIN) + chunk_by_hand(version, b"short") + chunk_by_hand(version, b"")
    assert decrypt(data, step=step) == PLAIN + b"short"


def test_what_is_written_is_version_3_to_the_byte():
    iv = bytes(range(16))
    assert xbcrypt.encode_chunk(Cipher("AES128", KEY), PLAIN, iv) == chunk_by_hand(3, PLAIN, iv)


@pytest.mark.parametrize("algorithm", ["AES128", "AES192", "AES256", "NONE"])
def test_every_algorithm_round_trips(algorithm):
    cipher = Cipher(algorithm, os.urandom(xbcrypt.KEY_BYTES[algorithm]))
    data = xbcrypt.encode_chunk(cipher, PLAIN, os.urandom(16))
    assert decrypt(data, cipher) == PLAIN
    assert (PLAIN in data) == (algorithm == "NONE")


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_openssl_agrees(bits, tmp_path):
    key, iv = os.urandom(bits // 8), os.urandom(16)
    data = xbcrypt.encode_chunk(Cipher(f"AES{bits}", key), PLAIN, iv)
    try:
        done = subprocess.run(
            ["openssl", "enc", "-d", f"-aes-{bits}-ctr", "-K", key.hex(), "-iv", iv.hex()],
            input=data[60:], capture_output=True, check=True,
        )
    except FileNotFoundError:
        pytest.skip("no openssl here")
    assert done.stdout == PLAIN + hashlib.sha256(PLAIN).digest()


def test_a_wrong_key_is_said_as_such():
    with pytest.raises(WrongKeyError):
        decrypt(chunk_by_hand(3, PLAIN), Cipher("AES128", KEY[::-1]))
    with pytest.raises(WrongKeyError):
        decrypt(chunk_by_hand(3, PLAIN), Cipher("AES256", KEY * 2))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_cut_anywhere_is_found(version):
    data = chunk_by_hand(version, b"0123456789")
    for at in range(1, len(data)):
        with pytest.raises(ValueError):
            decrypt(data[:at])


def test_a_flipped_bit_is_found_wherever_it_counts():
    data = chunk_by_hand(3, b"0123456789")
    for at in (i for i in range(len(data)) if not 8 <= i < 16):  # the reserved field means nothing
        damaged = bytearray(data)
        damaged[at] ^= 4
        with pytest.raises(ValueError):
            decrypt(bytes(damaged))


def test_impossible_sizes_are_refused_before_memory_is_taken():
    for original, size in ((2**31, 2**31), (2**63, 2**63), (40, 41), (5, 5)):
        with pytest.raises(ValueError, match="sizes"):
            decrypt(b"XBCRYP03" + bytes(8) + struct.pack("<QQI", original, size, 0) + bytes(100))


def test_keys_of_the_wrong_length_are_told_with_the_newline_in_mind():
    with pytest.raises(ValueError, match="16 bytes, this one has 17.*newline"):
        Cipher("AES128", KEY + b"\n")
    with pytest.raises(ValueError, match="no encryption algorithm"):
        Cipher("DES", KEY)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=500), max_size=5), st.integers(1, 300))
def test_any_chunks_come_back(chunks, step):
    cipher = Cipher("AES256", b"k" * 32)
    data = b"".join(xbcrypt.encode_chunk(cipher, c, os.urandom(16)) for c in chunks)
    assert decrypt(data, cipher, step) == b"".join(chunks)
