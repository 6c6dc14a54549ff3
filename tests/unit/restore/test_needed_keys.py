"""Which keys a backup needs, and what is said when they are not there; no server is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from goldcopy.errors import BackupInvalid, KeyMissing
from goldcopy.formats.delta import DeltaEncoder
from goldcopy.formats.innodb.sums import crc
from goldcopy.formats.keys.ring import Key, component_ring, plugin_ring
from goldcopy.formats.keys.transition import seal
from goldcopy.image.chain import Image, Member
from goldcopy.image.manifest import KEYS_NAME, Manifest, Position, Redo, Server, Space
from goldcopy.restore.key_files import check_key_files
from goldcopy.restore.keys import KeyOptions, keys_of, looked_up, named_in, needed

UUID = "83e487a5-e899-11f1-a41d-02fc00000001"
PAGE = 16384
ENCRYPTED = 1 << 13


def name(number: int) -> str:
    """Of a master key."""
    return f"INNODBKey-{UUID}-{number}"


def key(number: int, fill: int | None = None) -> Key:
    """A master key."""
    return Key(name(number), bytes([number if fill is None else fill]) * 32)


def info(number: int) -> bytes:
    """A tablespace's key under a master key."""
    plain = b"k" * 64
    aes = Cipher(algorithms.AES(key(number).secret), modes.ECB()).encryptor()
    return b"lCC" + number.to_bytes(4, "big") + UUID.encode() + aes.update(plain) + crc(plain).to_bytes(4, "big")


def page0(number: int) -> bytes:
    """Page 0 of an encrypted tablespace."""
    page = bytearray(PAGE)
    page[54:58] = ENCRYPTED.to_bytes(4, "big")
    page[10390 : 10390 + len(info(number))] = info(number)
    return bytes(page)


def space(stored: str, flags: int = ENCRYPTED) -> Space:
    """The tablespace of all these tests."""
    return Space(
        path="d/t.ibd", space_id=5, identity="i", page_size=PAGE, flags=flags, size=2 * PAGE, size_final=2 * PAGE,
        stored=stored,  # type: ignore[arg-type]
    )  # fmt: skip


def member(directory: Path, kind: str, one: Space, *, redo: int = 0, newest: str = "", plugins: tuple[str, ...] = ()
           ) -> Member:
    """A backup. ``redo``: number of the key of its redo log."""
    (directory / "d").mkdir(parents=True)
    block = (bytes(48) + info(redo)).hex() if redo else ""
    manifest = Manifest(
        id=kind, kind=kind, tool="t", started="", finished="", spaces=(one,), plain=(), position=Position(),  # type: ignore[arg-type]
        server=Server(family="mysql", version="8.0.45", dialect="", identity="", plugins=plugins),
        redo=Redo(layout="R8030", start=0, checkpoint=0, end=0, encryption=block), master_key=newest,
    )  # fmt: skip
    return Member(str(directory), manifest)


def full(directory: Path, number: int = 1, **more: object) -> Image:
    """A full backup of one encrypted table."""
    made = member(directory, "full", space("full"), **more)  # type: ignore[arg-type]
    (directory / "d/t.ibd").write_bytes(page0(number) + bytes(PAGE))
    return Image((made,))


def increment(directory: Path, base: Image, numbers: dict[int, bytes]) -> Image:
    """An increment with these pages of the table."""
    made = member(directory, "incremental", space("delta"))
    encoder = DeltaEncoder(PAGE)
    blocks = [b for n, page in numbers.items() for b in encoder.add(n, page)] + encoder.finish()
    with (directory / "d/t.ibd.delta").open("wb") as f:
        for block in blocks:
            f.seek(block.offset)
            f.write(block.data)
    return Image((made, *base.members))


def needs(image: Image) -> set[str]:
    """Names of the keys."""
    return {w.name for w in needed(image)}


def test_page_0_and_the_redo_log_tell(tmp_path: Path) -> None:
    assert needs(full(tmp_path / "a", 3)) == {name(3)}
    assert needs(full(tmp_path / "b", 3, redo=4)) == {name(3), name(4)}
    assert needs(Image((member(tmp_path / "c", "full", space("full", flags=0)),))) == set()


def test_the_newest_page_0_of_a_chain_counts(tmp_path: Path) -> None:
    base = full(tmp_path / "base", 1)
    assert needs(increment(tmp_path / "i", base, {0: page0(2), 1: bytes(PAGE)})) == {name(2)}
    assert needs(increment(tmp_path / "j", base, {1: bytes(PAGE)})) == {name(1)}


def test_a_damaged_delta_is_said_to_be(tmp_path: Path) -> None:
    image = increment(tmp_path / "i", full(tmp_path / "base", 1), {0: page0(2)})
    delta = tmp_path / "i/d/t.ibd.delta"
    delta.write_bytes(b"?" + delta.read_bytes()[1:])
    with pytest.raises(BackupInvalid, match="not a delta"):
        needs(image)


def test_a_table_that_a_filter_left_out_needs_no_key(tmp_path: Path) -> None:
    image = full(tmp_path / "a")
    (tmp_path / "a/d/t.ibd").unlink()
    assert needs(image) == set()


def ring(tmp_path: Path, *keys: Key) -> KeyOptions:
    """A keyring that the user names."""
    (tmp_path / "ring").write_bytes(plugin_ring(keys))
    return KeyOptions(keyring=str(tmp_path / "ring"))


def test_all_of_the_keyring_is_lent_when_it_has_what_is_needed(tmp_path: Path) -> None:
    other = Key("mine", b"x", "AES", "me@localhost")
    assert keys_of(full(tmp_path / "a"), ring(tmp_path, key(1), other), "") == (key(1), other)


def test_keys_are_lent_for_the_redo_of_a_table_whose_pages_are_not_written_yet(tmp_path: Path) -> None:
    image = Image((member(tmp_path / "a", "full", space("full", flags=0), newest=name(2)),))
    assert keys_of(image, ring(tmp_path, key(1), key(2)), "") == (key(1), key(2))
    assert keys_of(image, ring(tmp_path, key(1)), "") == (), "nothing tells that any is needed"
    never = Image((member(tmp_path / "b", "full", space("full", flags=0)),))
    assert keys_of(never, ring(tmp_path, key(1), key(2)), "") == ()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ((), f"does not have the key {name(1)}"),
        ((key(2),), f"does not have the key {name(1)}"),
        ((key(1), ), f"does not have the key {name(2)}"),
        ((key(1, fill=9), key(2)), f"the key {name(1)} is another one"),
    ],
)  # fmt: skip
def test_what_is_not_there_or_wrong_is_named(tmp_path: Path, keys: tuple[Key, ...], said: str) -> None:
    """The newest key of the source may be in the redo only, so it counts as well."""
    with pytest.raises(KeyMissing, match=said) as failed:
        keys_of(full(tmp_path / "a", newest=name(2)), ring(tmp_path, *keys), "")
    assert str(tmp_path / "ring") in failed.value.message
    assert "--keyring" in failed.value.hint


def test_keys_that_were_looked_up_are_not_looked_for_again(tmp_path: Path) -> None:
    image = full(tmp_path / "a")
    options = looked_up(image, ring(tmp_path, key(1)), "")
    (tmp_path / "ring").unlink()
    assert keys_of(image, options, "") == (key(1),)
    assert "secret" not in repr(options) and "found" not in repr(options)


def test_keys_of_the_backup_itself_open_with_their_phrase(tmp_path: Path) -> None:
    image = full(tmp_path / "a")
    with pytest.raises(KeyMissing, match="taken without --transition-key"):
        keys_of(image, KeyOptions(phrase="p"), "")
    (tmp_path / "a" / KEYS_NAME).write_bytes(seal([key(1)], "p"))
    keys_of(image, KeyOptions(phrase="p"), "")
    with pytest.raises(KeyMissing, match="pass phrase is another one"):
        keys_of(image, KeyOptions(phrase="q"), "")


def test_a_keyring_that_only_the_server_can_ask_is_left_to_it(tmp_path: Path) -> None:
    image = full(tmp_path / "a", plugins=("keyring_vault=keyring_vault.so",))
    assert keys_of(image, KeyOptions(), "") == ()
    with pytest.raises(KeyMissing):
        keys_of(image, ring(tmp_path), "")


def test_a_configuration_may_be_named_instead(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(component_ring([key(1)]))
    (tmp_path / "c.cnf").write_text('{"path": "keys", "read_only": true}')
    keys_of(full(tmp_path / "a"), KeyOptions(keyring=str(tmp_path / "c.cnf")), "")


def test_a_keyring_among_server_options_never_reaches_the_server() -> None:
    extra = ("--early-plugin-load=keyring_file.so", "--loose-keyring_file_data=/k", "--sync-binlog=0")
    assert named_in(extra) == ("/k", ("--sync-binlog=0",))
    assert named_in(["--early-plugin-load=other.so"]) == ("", ("--early-plugin-load=other.so",))


def test_a_key_file_of_mariadb_is_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    settings = {"file_key_management_filename": str(path)}
    with pytest.raises(KeyMissing, match="cannot be read"):
        check_key_files(settings)
    path.write_text("1;770a8a65da156d24ee2a093277530142\n# a note\n 20 ;770a8a65da156d24ee2a093277530142\n")
    check_key_files(settings, frozenset({1, 20}))
    with pytest.raises(KeyMissing, match="key 2, which"):
        check_key_files(settings, frozenset({1, 2}))
    path.write_bytes(b"Salted__whatever")
    check_key_files({**settings, "file_key_management_filekey": "secret"}, frozenset({2}))
    with pytest.raises(KeyMissing, match="pass phrase"):
        check_key_files(settings, frozenset({2}))
