"""A table with an odd name must be found in the backup, and its name in SQL, as the server itself has them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldcopy.compat.names import from_file_name, split_partition, to_file_name

CHARSET = Path(__file__).parent / "golden/filename-charset.txt"  # the server's own CONVERT(... USING filename)


def test_every_character_with_a_code_of_its_own_is_coded_as_the_server_does():
    pairs = [line.split("\t") for line in CHARSET.read_text().splitlines()]
    assert len(pairs) == 1573
    for code_point, encoded in pairs:
        assert to_file_name(chr(int(code_point, 16))) == encoded
        assert from_file_name(encoded) == chr(int(code_point, 16))


@pytest.mark.parametrize(
    ("name", "file_name"),
    [
        ("t", "t"),
        ("d-3 .ñß¿漢字", "d@002d3@0020@002e@0x@1j@00bf@6f22@5b57"),
        ("con", "con@@@"),
        ("Com1", "Com1@@@"),
        ("clock$", "clock@0024"),
        ("lpt0", "lpt0"),
        ("lpt9x", "lpt9x"),
        ("prn@@@", "prn@0040@0040@0040"),
        ("#mysql50#a-b", "a-b"),
    ],
)
def test_names_as_a_real_server_made_files_of_them(name, file_name):
    assert to_file_name(name) == file_name
    assert from_file_name(file_name) == name


@given(st.text(st.characters(min_codepoint=1, max_codepoint=0xFFFF, exclude_categories=("Cs",)), min_size=1))
def test_no_name_is_lost_on_the_way_there_and_back(name):
    if not name.startswith("#mysql50#"):
        assert from_file_name(to_file_name(name)) == name


@pytest.mark.parametrize(
    ("file_name", "expected"),
    [
        ("t", ("t", "")),
        ("t#P#p0", ("t", "p0")),
        ("t#p#p0#sp#s1", ("t", "p0#sp#s1")),
        ("a@0023P@0023b", ("a@0023P@0023b", "")),
    ],
)
def test_partitions_are_told_from_tables(file_name, expected):
    assert split_partition(file_name) == expected
