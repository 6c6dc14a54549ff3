"""A configuration that does not fit a backup must be told before anything is copied."""

from __future__ import annotations

import pytest

from goldcopy.restore.target_config import objections

TAKEN = {
    "innodb_page_size": "16384", "lower_case_table_names": "0",
    "innodb_data_file_path": "/ssd/ibdata1:12M;ibdata2:50M:autoextend",
}


@pytest.mark.parametrize(
    "wanted",
    [
        {}, {"innodb_page_size": "16k"}, {"innodb_page_size": "16384"}, {"port": "3306"},
        {"innodb_data_file_path": "ibdata1:12M;/other/ibdata2:50M:autoextend"}, {"lower_case_table_names": None},
    ],
)
def test_what_means_the_same_is_accepted(wanted):
    assert objections(TAKEN, wanted) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("innodb_page_size", "8k"), ("lower_case_table_names", "1"), ("innodb_data_file_path", "ibdata1:12M:autoextend")],
)
def test_what_the_server_could_not_start_with_is_named(name, value):
    found = objections(TAKEN, {name: value})
    assert len(found) == 1 and name in found[0] and value in found[0]
