"""A server without a DDL lock builds indexes outside the redo: such a table must be copied again."""

from __future__ import annotations

import pytest

from goldcopy.capture.spaces import altered_since, table_of
from goldcopy.server.files import FileRef


def ref(path: str, ctime_ns: int) -> FileRef:
    return FileRef(path, "/d", "", 1, "1.1.1", ctime_ns, ctime_ns, 0o640)


@pytest.mark.parametrize(
    "path", ["db/t.ibd", "db/t.frm", "db/t#P#p0.ibd", "db/t#P#p0#SP#s1.ibd", "db/t#p#p0.ibd"]
)
def test_all_files_of_a_table_belong_to_it(path):
    assert table_of(path) == "db/t"


def test_only_tables_defined_anew_since_the_start_count_as_altered():
    start = 10_000_000_000
    files = [ref("db/old.frm", start - 1_000_000_000), ref("db/new.frm", start + 1), ref("db/new.MYD", start + 1)]
    assert altered_since(files, start) == {"db/new"}
