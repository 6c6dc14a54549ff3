"""xbstream, mbstream and xbcrypt as scripts use them: options, exit status, and nothing lost without a word."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from goldcopy.formats import xbstream
from goldcopy.image import codecs

PROGRAMS = {
    "xbstream": "goldcopy.compat.xbstream_main:main",
    "mbstream": "goldcopy.compat.xbstream_main:mbstream",
    "xbcrypt": "goldcopy.compat.xbcrypt_main:main",
}
KEY = "0123456789abcdef"


def run(program: str, *args: str | Path, stdin: bytes = b"", cwd: Path | None = None, **env: str):
    module, function = PROGRAMS[program].split(":")
    code = f"import sys; from {module} import {function} as f; sys.exit(f())"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], input=stdin, capture_output=True, cwd=cwd,
        env=os.environ | env, timeout=60,
    )


def file(path: str, data: bytes) -> bytes:
    return xbstream.payload_header(path, 0, data) + data + xbstream.end(path)


@pytest.mark.parametrize("program", ["xbstream", "mbstream"])
def test_packed_and_unpacked(program, tmp_path):
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "t.ibd").write_bytes(b"t" * 3_000_000)
    (tmp_path / "empty").write_bytes(b"")
    packed = run(program, "-c", "-C", tmp_path, "db/t.ibd", "./empty")
    assert packed.returncode == 0
    done = run(program, "-x", "-v", "-p", "3", "-C", tmp_path / "out", stdin=packed.stdout)
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.decode().split() == ["db/t.ibd", "./empty"]
    assert (tmp_path / "out" / "db" / "t.ibd").read_bytes() == b"t" * 3_000_000
    assert (tmp_path / "out" / "empty").read_bytes() == b""


@pytest.mark.parametrize(
    "args", [[], ["-c", "-x", "f"], ["-c"], ["-x", "name"], ["-c", "missing"], ["-c", "."], ["-x", "--no-such"]]
)
def test_what_cannot_be_meant_is_status_1_and_a_word(args, tmp_path):
    done = run("xbstream", *args, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(b"xbstream: ")
    assert b"Traceback" not in done.stderr


def test_mbstream_has_not_the_options_of_xtrabackup(tmp_path):
    assert run("mbstream", "-x", "--decompress", cwd=tmp_path).returncode == 1
    assert run("mbstream", "-?").returncode == 0
    assert b"xbstream" in run("xbstream", "-V").stdout


def test_damage_is_status_1(tmp_path):
    stream = file("t", b"data")
    for wrong in (stream[:-1], stream[:-20], stream + stream, stream.replace(b"data", b"dota")):
        done = run("mbstream", "-x", "-C", tmp_path / "out", stdin=wrong)
        assert done.returncode == 1, wrong
        assert b"Traceback" not in done.stderr
        (tmp_path / "out" / "t").unlink(missing_ok=True)
        assert not list((tmp_path / "out").iterdir())


def test_a_killed_extraction_leaves_whole_files_only(tmp_path):
    code = "import sys; from goldcopy.compat.xbstream_main import mbstream as f; sys.exit(f())"
    with subprocess.Popen(
        [sys.executable, "-c", code, "-x", "-C", str(tmp_path)], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdin.write(file("whole", b"1") + file("half", b"x" * 100000)[:-1000])
        process.stdin.flush()
        deadline = time.monotonic() + 20
        while len(os.listdir(tmp_path)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(os.listdir(tmp_path)) == 2
        process.terminate()
        assert process.wait(20) == 1
    assert os.listdir(tmp_path) == ["whole"]


def test_decrypted_and_decompressed(tmp_path):
    cipher = codecs.cipher("AES128", KEY.encode())
    wrapped = codecs.Wrapping([codecs.Zstd(), codecs.Encrypt(cipher)]).encode(b"pages" * 1000)
    stream = file("t.ibd.zst.xbcrypt", wrapped)
    (tmp_path / "key").write_text(KEY)
    out = tmp_path / "out"
    done = run("xbstream", "-x", "-C", out, "--decompress", "--decrypt=AES128", "--encrypt_key_file", tmp_path / "key",
               "--decompress-threads=2", stdin=stream)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (out / "t.ibd").read_bytes() == b"pages" * 1000
    assert run("xbstream", "-x", "-C", tmp_path / "2", "--decrypt=AES128", stdin=stream).returncode == 1
    wrong = run("xbstream", "-x", "-C", tmp_path / "3", "--decrypt=AES128", "-k", KEY[::-1], stdin=stream)
    assert wrong.returncode == 1
    assert b"key" in wrong.stderr


def test_absolute_names_are_stripped_unless_wanted(tmp_path):
    (tmp_path / "t").write_bytes(b"1")
    plain = run("xbstream", "-c", tmp_path / "t")
    kept = run("xbstream", "-c", "-P", tmp_path / "t")
    assert [e.path for e in xbstream.Decoder().feed(plain.stdout)][-1] == str(tmp_path / "t").lstrip("/")
    assert run("xbstream", "-x", "-C", tmp_path / "out", stdin=kept.stdout).returncode == 1
    (tmp_path / "t").unlink()
    assert run("xbstream", "-x", "-P", "-C", tmp_path / "out", stdin=kept.stdout).returncode == 0
    assert (tmp_path / "t").read_bytes() == b"1"


def test_named_pipes(tmp_path):
    from goldcopy.image.channel import fifo_channels

    def send():
        with fifo_channels(str(tmp_path), 2, 20) as channels:
            for i, channel in enumerate(channels):
                channel.write(file(f"t{i}", b"x" * 300000))

    writer = threading.Thread(target=send)
    writer.start()
    done = run("xbstream", "-x", "--fifo-streams=2", f"--fifo-dir={tmp_path}", "-C", tmp_path / "out")
    writer.join()
    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted(os.listdir(tmp_path / "out")) == ["t0", "t1"]
    assert os.listdir(tmp_path) == ["out"]


def test_xbcrypt_both_ways(tmp_path):
    plain = b"some bytes" * 100000
    (tmp_path / "plain").write_bytes(plain)
    options = ["-a", "AES128", "-k", KEY]
    assert run("xbcrypt", *options, "-i", tmp_path / "plain", "-o", tmp_path / "sealed", "-s", "4K").returncode == 0
    sealed = (tmp_path / "sealed").read_bytes()
    assert sealed.startswith(b"XBCRYP03")
    done = run("xbcrypt", "-d", *options, "-t", "4", stdin=sealed)
    assert (done.returncode, done.stdout) == (0, plain)
    by_variable = run("xbcrypt", "-d", "-a", "AES128", stdin=sealed, XBCRYPT_ENCRYPTION_KEY=KEY)
    assert by_variable.stdout == plain


def test_xbcrypt_keeps_what_is_there_and_leaves_nothing_half_made(tmp_path):
    options = ["-a", "AES128", "-k", KEY]
    sealed = run("xbcrypt", *options, stdin=b"data" * 1000).stdout
    (tmp_path / "mine").write_bytes(b"precious")
    assert run("xbcrypt", "-d", *options, "-o", tmp_path / "mine", stdin=sealed).returncode == 1
    assert (tmp_path / "mine").read_bytes() == b"precious"
    for wrong, key in ((sealed[:-1], KEY), (sealed, KEY[::-1])):
        done = run("xbcrypt", "-d", "-a", "AES128", "-k", key, "-o", tmp_path / "new", stdin=wrong)
        assert done.returncode == 1
        assert b"Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["mine"]


def test_a_reader_that_is_gone_is_said(tmp_path):
    (tmp_path / "plain").write_bytes(bytes(4 << 20))
    reading, writing = os.pipe()
    os.close(reading)
    program = Path(sys.executable).parent / "xbcrypt"
    command = [program, "-a", "AES128", "-k", "0123456789abcdef", "-i", tmp_path / "plain"]
    done = subprocess.run(command, check=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.returncode == 1
    assert b"the reader of the output is gone" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "args", [["-a", "AES128"], ["-a", "AES128", "-k", "short"], ["-a", "DES", "-k", KEY], ["-k", KEY]]
)
def test_xbcrypt_wants_one_key_of_the_right_length(args):
    done = run("xbcrypt", *args, stdin=b"data")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"xbcrypt: ")
