"""A repository must fit where a directory does: it gets pages by address, and gives any of any backup alone."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from pagestore import PageSink, PageStore
from spacefiles import Kind, listed, overwrite, write_space

from goldcopy.capture.copier import SpaceCopier
from goldcopy.capture.copy_space import Base, SpaceJob
from goldcopy.capture.plain import PlainCopier, unchanged
from goldcopy.capture.spaces import CopiedSpaces
from goldcopy.capture.witness import NewestPages
from goldcopy.formats import Lsn
from goldcopy.image.chain import key_of
from goldcopy.image.manifest import REDO_NAME, Manifest
from goldcopy.image.sink import Sink
from lab.manifests import manifest

KIND = Kind("full")
PAGE = KIND.page_size
AT_ONCE = "redo that is written while tablespaces are copied"


def take(sink: Sink, name: str, spaces: dict[str, Path], plain: dict[str, Path], base: Manifest | None = None) -> Manifest:
    """What the engine does with a sink, without a server: copy, mend names, copy the rest, commit."""
    since, held = Lsn(base.redo.checkpoint if base else 0), {key_of(s) for s in base.spaces} if base else set()
    rule = Base(since, held) if base else None
    redo = sink.put_file(REDO_NAME)
    follower = threading.Thread(target=lambda: [redo.write(AT_ONCE.encode()) for _ in range(1000)])
    follower.start()
    copied = CopiedSpaces()
    jobs = [SpaceJob(listed(path, "old/" + path.name), rule) for path in spaces.values()]
    copier = SpaceCopier(sink, family="mariadb", threads=4, newest=NewestPages())
    copier.copy(jobs, lambda result: copied.add(result, 1) and None)
    now = [listed(path, name) for name, path in spaces.items()]
    # every table has another name by now, and one changed its name with another
    copied.mend(copied.compare(now), sink)
    sink.make_dir("empty")
    files = PlainCopier(sink)
    known = {p.path: p for p in base.plain} if base else {}
    records = []
    for path, place in plain.items():
        file = listed(place, path)
        is_known = path in known and unchanged(file, known[path], 1 << 62)
        records.append(files.from_base(file, known[path]) if is_known else files.copy(file))
    follower.join()
    redo.finish()
    sink.sync()
    done = manifest(
        id=name, kind="incremental" if base else "full", base_id=base.id if base else "", since=since,
        spaces=copied.records(now), plain=tuple(records),
    )  # fmt: skip
    sink.commit(done)
    return done


def give(store: PageStore, backup: str, spaces: dict[str, Path]) -> None:
    """Every file as the server has it, from this backup alone."""
    assert store.read(backup, REDO_NAME) == AT_ONCE.encode() * 1000
    for name, path in spaces.items():
        assert store.read(backup, name) == path.read_bytes(), name


@pytest.fixture
def server(tmp_path: Path) -> dict[str, Path]:
    """Tables by name: large enough for several threads, and one with holes."""
    files = {f"db/t{i}.ibd": tmp_path / f"file{i}" for i in range(3)}
    for i, path in enumerate(files.values()):
        write_space(path, KIND, 300 + 100 * i, space_id=10 + i)
    os.truncate(files["db/t1.ibd"], 900 * PAGE)
    return files


def test_a_backup_is_there_by_pages_and_an_increment_costs_what_changed(tmp_path, server):
    store, csv = PageStore(), tmp_path / "csv"
    csv.write_bytes(os.urandom(1_500_000))
    with PageSink(store) as sink:
        full = take(sink, "full", server, {"db/c.CSV": csv})
    give(store, "full", server)
    assert store.page("full", "db/t2.ibd", 7) == server["db/t2.ibd"].read_bytes()[7 * PAGE : 8 * PAGE]
    before = len(store.contents)

    # swapped names, changed pages, a new table, one that has grown
    server["db/t0.ibd"], server["db/t1.ibd"] = server["db/t1.ibd"], server["db/t0.ibd"]
    for number in (3, 250):
        overwrite(server["db/t2.ibd"], number * PAGE, KIND.page(number, 12, 5000, seed=9))
    with open(server["db/t0.ibd"], "ab") as grown:
        grown.write(KIND.page(900, 11, 5000))
    server["db/new.ibd"] = tmp_path / "new"
    write_space(server["db/new.ibd"], KIND, 5, space_id=20, lsn=5000)
    base = manifest(**{f: getattr(full, f) for f in full.__struct_fields__} | {"redo": full.redo.__class__(
        layout="R108", start=0, checkpoint=4000, end=4001)})
    with PageSink(store) as sink:
        take(sink, "increment", server, {"db/c.CSV": csv}, base)
    give(store, "increment", server)
    assert store.read("increment", "db/c.CSV") == csv.read_bytes()
    assert len(store.contents) - before == 2 + 1 + 5

    store.expire("full")
    give(store, "increment", server)


def test_what_fails_is_no_backup(server):
    store = PageStore()
    with pytest.raises(RuntimeError), PageSink(store) as sink:
        sink.sync = lambda: (_ for _ in ()).throw(RuntimeError("the network is gone"))
        take(sink, "full", server, {})
    assert not store.backups
