"""The manifest on disk: what is written is read again, what is damaged is refused, and its records stay on disk."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import msgspec
import pytest

from goldcopy.errors import BackupInvalid
from goldcopy.image.chain import Image, Member, open_image
from goldcopy.image.manifest import MANIFEST_NAME, Manifest, Plain, Position, Redo, Server, Space, dump, load


def space(number: int, stored: str = "full", **more) -> Space:
    return Space(
        path=f"db/t{number}.ibd", space_id=number, identity=f"{number}.1764000000.{number}", page_size=16384,
        size=65536, size_final=65536, stored=stored, sums="0123abcd", **more,
    )


def plain(number: int, stored: str = "file") -> Plain:
    return Plain(path=f"db/t{number}.frm", size=900, identity=f"{number}.1.1", mtime_ns=number, stored=stored, sums="00")


def manifest(*, spaces=(), files=(), **more) -> Manifest:
    return Manifest(
        id="1", kind=more.pop("kind", "full"), tool="goldcopy", started="2026-11-25T00:00:00.000Z",
        finished="2026-11-25T00:00:00.000Z", position=Position(binlog_file="b.1", binlog_position=4),
        server=Server(family="mariadb", version="10.11.19", dialect="mariadb-10.11", identity="x"),
        redo=Redo(layout="R108", start=0, checkpoint=8, end=16), spaces=tuple(spaces), plain=tuple(files), **more,
    )


def written(directory: Path, content: Manifest) -> str:
    directory.mkdir(exist_ok=True)
    (directory / MANIFEST_NAME).write_bytes(b"".join(dump(content)))
    return str(directory)


def same(one: Manifest, other: Manifest) -> bool:
    def whole(m: Manifest) -> Manifest:
        return msgspec.structs.replace(m, spaces=[*m.spaces], plain=[*m.plain])

    return whole(one) == whole(other)


@pytest.mark.parametrize("count", [0, 1, 300])
def test_what_is_written_is_read_again(tmp_path, count):
    content = manifest(
        spaces=map(space, range(count)), files=map(plain, range(2 * count)), warnings=("zeile\n\u2028", "\udcff"[:0]),
        name="täglich",
    )
    found = load(written(tmp_path / "b", content))
    assert same(found, content)
    assert (len(found.spaces), len(found.plain)) == (count, 2 * count)
    assert same(load(written(tmp_path / "again", found)), content)


def test_records_can_be_read_when_another_manifest_has_taken_the_place(tmp_path):
    directory = tmp_path / "b"
    found = load(written(directory, manifest(spaces=map(space, range(700)))))
    (directory / "new").write_bytes(b"other")
    (directory / "new").rename(directory / MANIFEST_NAME)
    assert [s.space_id for s in found.spaces] == list(range(700))


def test_flipped_and_missing_bytes_are_found(tmp_path):
    directory = tmp_path / "b"
    good = Path(written(directory, manifest(spaces=[space(1)], files=[plain(1)])), MANIFEST_NAME).read_bytes()
    # every byte of what has a meaning of its own, some of the rest
    places = [*range(40), *range(40, len(good) - 70, 9), *range(len(good) - 70, len(good))]
    bad = [good[:n] for n in places] + [good + b"\n"]
    bad += [good[:n] + bytes([good[n] ^ 1]) + good[n + 1 :] for n in places]
    for data in bad:
        (directory / MANIFEST_NAME).write_bytes(data)
        with pytest.raises(BackupInvalid):
            load(str(directory))


def test_a_first_line_alone_is_no_manifest_though_its_sum_is_right(tmp_path):
    first = next(iter(dump(manifest()))).partition(b"\n")[0] + b"\n"
    (tmp_path / MANIFEST_NAME).write_bytes(first + hashlib.sha256(first).hexdigest().encode() + b"\n")
    with pytest.raises(BackupInvalid, match="nothing but its first line"):
        load(str(tmp_path))


@pytest.mark.parametrize("first", [b"goldcopy-manifest 1 0123", b"goldcopy-manifest 3", b"", b"{}"])
def test_a_manifest_of_another_version_is_refused(tmp_path, first):
    (tmp_path / MANIFEST_NAME).write_bytes(first + b"\nsomething\n")
    with pytest.raises(BackupInvalid, match="version that this program knows"):
        load(str(tmp_path))


def test_a_directory_without_a_manifest_is_no_backup(tmp_path):
    with pytest.raises(BackupInvalid, match="no complete backup"):
        load(str(tmp_path))
    (tmp_path / "file").touch()
    for name in ("none", "file"):
        with pytest.raises(BackupInvalid, match="there is no directory"):
            load(str(tmp_path / name))


def test_a_chain_gives_each_file_from_where_it_was_stored_last(tmp_path):
    full = manifest(spaces=map(space, range(600)), files=map(plain, range(600)))
    newest = manifest(
        kind="incremental", base_id="1", base_path="../full",
        spaces=[space(5, "delta"), space(6), space(7, "delta", complete=True)], files=[plain(5, "base"), plain(6)],
    )
    written(tmp_path / "full", full)
    image = open_image(written(tmp_path / "inc", newest))
    base = image.members[1]
    sources = {s.space.space_id: s for s in image.spaces()}
    assert sources[5].whole == (base, space(5)) and [s for _, s in sources[5].deltas] == [space(5, "delta")]
    assert sources[6].whole == (image.members[0], space(6)) and not sources[6].deltas
    assert sources[7].whole is None and len(sources[7].deltas) == 1
    assert list(image.plain()) == [(base, plain(5)), (image.members[0], plain(6))]


def test_what_the_chain_does_not_hold_is_an_error():
    image = Image((Member("/inc", manifest(spaces=[space(1, "delta")], files=[plain(1, "base")])), Member("/full", manifest())))
    with pytest.raises(BackupInvalid, match="no whole copy of db/t1.ibd"):
        list(image.spaces())
    with pytest.raises(BackupInvalid, match="does not hold db/t1.frm"):
        list(image.plain())


def test_the_records_of_a_manifest_stay_on_disk(tmp_path):
    """A restore of a full and ten increments of 100,000 tables has eleven manifests open at once."""
    count = 20_000
    directory = written(tmp_path / "b", manifest(spaces=map(space, range(count)), files=map(plain, range(count))))
    tracemalloc.start()
    try:
        member = Member(directory, load(directory))
        assert member.spaces_by_identity.get((19_999, "19999.1764000000.19999")) == space(19_999)
        assert member.plain_by_path.get("db/t0.frm") == plain(0)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken / (2 * count) < 50
