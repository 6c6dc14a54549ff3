"""Where a restored server looks for its binlog: by log_bin and log_bin_index, or at home."""

import pytest

from goldcopy.compat.binlog_home import binlog_home


@pytest.mark.parametrize(
    ("log_bin", "log_bin_index", "path", "index", "entry"),
    [
        ("", "", "/d/bin.000004", "/d/bin.index", "./bin.000004"),
        ("other", "", "/d/bin.000004", "/d/other.index", "./bin.000004"),
        ("/logs/other", "", "/logs/bin.000004", "/logs/other.index", "/logs/bin.000004"),
        ("sub/bin", "/x/i.index", "/d/sub/bin.000004", "/x/i.index", "/d/sub/bin.000004"),
        ("a.b.c", "", "/d/bin.000004", "/d/a.index", "./bin.000004"),
        ("/logs/bin", "here", "/logs/bin.000004", "/d/here.index", "/logs/bin.000004"),
    ],
)
def test_the_binlog_goes_where_the_server_will_look(tmp_path, log_bin, log_bin_index, path, index, entry):
    (tmp_path / "xtrabackup_binlog_info").write_text("bin.000004\t157\n")
    (tmp_path / "bin.index").write_text("./bin.000004\n")
    assert binlog_home(str(tmp_path), "/d", log_bin, log_bin_index) is None
    (tmp_path / "bin.000004").write_bytes(b"")

    found = binlog_home(str(tmp_path), "/d", log_bin, log_bin_index)

    assert (found.path, found.index, found.entry) == (path, index, entry)


def test_a_backup_without_binlog_has_none_to_bring_home(tmp_path):
    assert binlog_home(str(tmp_path), "/d", "", "") is None
