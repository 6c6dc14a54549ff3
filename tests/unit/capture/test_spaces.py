"""DDL while tablespaces are copied: by name alone a table would be lost, or kept twice."""

from __future__ import annotations

import pytest

from goldcopy.capture.copy_space import SpaceResult
from goldcopy.capture.spaces import CopiedSpaces
from goldcopy.errors import ServerRefused
from goldcopy.server.files import FileRef

T0 = 1_000_000_000_000


def result(path: str, identity: str) -> SpaceResult:
    return SpaceResult(path=path, identity=identity, space_id=ord(identity[0]), page_size=16384)


def ref(path: str, identity: str) -> FileRef:
    return FileRef(path, "/nowhere", "", 16384, identity, T0 - 10**9, T0 - 10**9, 0o640)


class Names:
    """Stands for a sink: only the names in it."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)

    def remove_space(self, path: str) -> None:
        self.names.remove(path)

    def rename_space(self, old: str, new: str) -> None:
        assert new not in self.names
        self.names.remove(old)
        self.names.add(new)


def add(spaces: CopiedSpaces, *results: SpaceResult) -> list[str]:
    """The paths of those that were not kept."""
    return [r.path for r in results if not spaces.add(r, T0)]


def mend(spaces: CopiedSpaces, sink: Names, *now: FileRef) -> tuple[FileRef, ...]:
    changes = spaces.compare(now)
    spaces.mend(changes, sink)
    return changes.fresh


def test_a_table_renamed_onto_the_next_name_to_be_opened_is_kept_once():
    spaces = CopiedSpaces()
    # listed as q (b) and p (a); q was copied, then renamed to p, and p was opened
    assert add(spaces, result("db/q.ibd", "b"), result("db/p.ibd", "b")) == ["db/p.ibd"]
    sink = Names("db/q.ibd")
    assert mend(spaces, sink, ref("db/p.ibd", "b")) == ()
    assert sink.names == {"db/p.ibd"}


def test_a_tablespace_in_which_an_index_was_built_is_copied_again():
    spaces, sink = CopiedSpaces(), Names("db/p.ibd", "db/q.ibd")
    p, q = result("db/p.ibd", "a"), result("db/q.ibd", "b")
    assert add(spaces, p, q) == []
    changes = spaces.compare([ref("db/p.ibd", "a"), ref("db/q.ibd", "b")], built={q.space_id} - {p.space_id})
    assert [f.path for f in changes.fresh] == ["db/q.ibd"]
    spaces.mend(changes, sink)
    assert sink.names == {"db/p.ibd"}


def test_swapped_tables_change_places():
    spaces, sink = CopiedSpaces(), Names("db/p.ibd", "db/q.ibd")
    assert add(spaces, result("db/p.ibd", "a"), result("db/q.ibd", "b")) == []
    assert mend(spaces, sink, ref("db/q.ibd", "a"), ref("db/p.ibd", "b")) == ()
    assert sink.names == {"db/p.ibd", "db/q.ibd"}
    records = spaces.records([ref("db/q.ibd", "a"), ref("db/p.ibd", "b")])
    assert {(r.path, r.identity) for r in records} == {("db/q.ibd", "a"), ("db/p.ibd", "b")}


def test_two_files_of_one_tablespace_that_the_server_has_elsewhere_stop_the_backup():
    spaces = CopiedSpaces()
    add(spaces, result("db/t.ibd", "a1"), result("db/stray.ibd", "a2"))
    with pytest.raises(ServerRefused, match="stray.ibd and db/t.ibd|t.ibd and db/stray.ibd"):
        spaces.leave_strays_out(lambda ids: dict.fromkeys(ids, "db/third.ibd"), Names())


def test_of_two_files_of_one_tablespace_the_servers_is_kept():
    spaces, sink = CopiedSpaces(), Names("db/t.ibd", "db/stray.ibd", "db/u.ibd")
    add(spaces, result("db/t.ibd", "a1"), result("db/stray.ibd", "a2"), result("db/u.ibd", "b"))
    [stray] = spaces.leave_strays_out(lambda ids: dict.fromkeys(ids, "db/t.ibd"), sink)
    assert (stray.path, stray.space_id, stray.owner) == ("db/stray.ibd", ord("a"), "db/t.ibd")
    assert sink.names == {"db/t.ibd", "db/u.ibd"}
    now = [ref("db/t.ibd", "a1"), ref("db/stray.ibd", "a2"), ref("db/u.ibd", "b")]
    assert [r.path for r in spaces.records(now)] == ["db/t.ibd", "db/u.ibd"]
    assert spaces.leave_strays_out(lambda ids: {}, sink) == []


def test_dropped_and_made_anew_under_the_same_name_is_another_table():
    spaces, sink = CopiedSpaces(), Names("db/p.ibd")
    add(spaces, result("db/p.ibd", "a"))
    now = ref("db/p.ibd", "c")
    assert mend(spaces, sink, now) == (now,)
    assert sink.names == set()


def test_what_vanished_while_it_was_copied_is_not_kept():
    spaces = CopiedSpaces()
    add(spaces, SpaceResult(path="db/p.ibd", vanished=True))
    assert len(spaces) == 0


def test_a_renamed_table_is_moved_once_however_often_the_directory_is_looked_at():
    spaces, sink = CopiedSpaces(), Names("db/p.ibd")
    add(spaces, result("db/p.ibd", "a"))
    for _ in range(2):
        assert mend(spaces, sink, ref("db/q.ibd", "a")) == ()
    assert sink.names == {"db/q.ibd"}
