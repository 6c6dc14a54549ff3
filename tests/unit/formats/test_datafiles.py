"""A file of the system tablespace that is looked for at the wrong place is a server that nobody can restore."""

import pytest

from goldcopy.formats.datafiles import DataFile, data_files


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("", [("ibdata1", "12M:autoextend")]),
        ("ibdata1:12M", [("ibdata1", "12M")]),
        ("ibdata1:12M;/ssd/a:b/ibdata2:50M:autoextend:max:1G",
         [("ibdata1", "12M"), ("/ssd/a:b/ibdata2", "50M:autoextend:max:1G")]),
        ("/ssd/a:1/ibdata1:76M:AUTOEXTEND", [("/ssd/a:1/ibdata1", "76M:AUTOEXTEND")]),
        ("ibdata1:1M:autoextend:autoshrink;", [("ibdata1", "1M:autoextend:autoshrink")]),
        ("/dev/sdb1:5Gnewraw;/dev/sdb2:5242880raw", [("/dev/sdb1", "5Gnewraw"), ("/dev/sdb2", "5242880raw")]),
    ],
)  # fmt: skip
def test_paths_and_sizes_are_told_apart(text, files):
    assert data_files(text) == tuple(DataFile(path, sizes) for path, sizes in files)
