"""A partial backup must be preparable: what a server says of the tables that were left out is no failure."""

from __future__ import annotations

import pytest

from goldcopy.restore.missing import is_about_missing_table, missing_before

_IN_FRONT = "2026-11-25  7:07:59 0 [ERROR] InnoDB: "


@pytest.mark.parametrize(
    "said",
    [
        "Operating system error number 2 in a file operation.",
        "The error means the system cannot find the path specified.",
        "If you are installing InnoDB, remember that you must create directories yourself, InnoDB does not create them.",
        "Could not find a valid tablespace file for `left/out`.",
    ],
)
def test_what_is_said_of_a_table_that_was_left_out_is_known(said: str) -> None:
    assert is_about_missing_table(_IN_FRONT + said)


@pytest.mark.parametrize(
    "said", ["Database page corruption on disk", "Operating system error number 28", "Missing log"]
)
def test_other_errors_stay_errors(said: str) -> None:
    assert not is_about_missing_table(_IN_FRONT + said)


def test_a_table_that_the_source_had_lost_is_told_from_one_that_we_lost() -> None:
    said = (
        f"{_IN_FRONT}Table sp/lost in the InnoDB data dictionary has tablespace id 51, but tablespace with that id or "
        "name does not exist. Have you deleted or moved .ibd files?"
    )
    assert missing_before(said, {50, 52}) == "sp/lost"
    assert not missing_before(said, {51})
