"""A partial backup must hold what the original's would: no table too few, and none that was excluded."""

import pytest

from goldcopy.compat.filters import (
    Expression,
    Filters,
    databases_file,
    expressions,
    names,
    tables_file,
)
from goldcopy.compat.sdifiles import table_files
from goldcopy.errors import UsageError

FILES = (
    "ibdata1", "undo001", "db1/db.opt", "db1/t1.ibd", "db1/t1.frm", "db1/t2.ibd", "db1/p#P#p0.ibd", "db2/t1.ibd",
    "d@002d3/a@002eb.ibd", "mysql/user.MYD",
)  # fmt: skip


def kept(**filters):
    rule = Filters(**filters)
    return {path for path in FILES if rule.keeps(path)} - {"ibdata1", "undo001"}


def test_without_filters_everything_is_kept():
    assert {path for path in FILES if Filters().keeps(path)} == set(FILES)
    assert not Filters().partial


def test_files_of_the_data_directory_are_always_kept():
    rule = Filters(include=names("nothing"))
    assert rule.partial
    assert rule.keeps("ibdata1")
    assert rule.keeps("./undo001")
    assert not rule.keeps("mysql/user.MYD")


# what the real mariadb-backup 10.5, 10.11 and 11.8 do with these
@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("db1.t1", True),
        ("T1", False),
        ("^t1$", False),
        ("^db1[.]t1$", True),
        ("b1.t", True),
        (r"db1.t1\b", True),
        ("x,db1.t1", True),
    ],
)
def test_expressions_match_as_the_c_library_matches(text, matches):
    assert ("db1/t1.ibd" in kept(matching=expressions(text))) is matches


@pytest.mark.parametrize(("text", "matches"), [("^d-3[.]", False), ("d@002d3", True), ("d@002d3.a@002eb", True)])
def test_names_are_matched_in_file_name_encoding(text, matches):
    assert ("d@002d3/a@002eb.ibd" in kept(matching=expressions(text))) is matches


@pytest.mark.parametrize("text", ["(?!db1)", "(?i)DB1", "a(", "["])
def test_a_perl_expression_is_an_error_and_not_an_empty_backup(text):
    with pytest.raises(UsageError, match="regcomp"):
        Expression(text)


@pytest.mark.parametrize("text", ["^db1.p$", "^db1.p#P#p0$"])
def test_a_partition_goes_with_its_table_or_by_its_own_name(text):
    assert kept(matching=expressions(text)) == {"db1/p#P#p0.ibd"}


def test_a_whole_database_keeps_its_options_file():
    assert kept(include=names("db1")) == {p for p in FILES if p.startswith("db1/")}


def test_tables_of_a_database_alone():
    assert kept(include=names("db1.t1\tdb2")) == {"db1/t1.ibd", "db1/t1.frm", "db2/t1.ibd"}


def test_a_comma_is_part_of_a_name():
    assert kept(include=names("db1,db2")) == set()


def test_exclusion_wins_over_inclusion():
    assert kept(include=names("db1 db2"), exclude=names("db2 db1.t1")) == {
        "db1/db.opt", "db1/t2.ibd", "db1/p#P#p0.ibd",
    }  # fmt: skip
    assert kept(matching=expressions("t[12]"), not_matching=expressions("t2")) == {
        "db1/t1.ibd", "db1/t1.frm", "db2/t1.ibd",
    }  # fmt: skip


def test_exclusion_alone_keeps_the_rest():
    assert kept(exclude=names("db1")) == {"db2/t1.ibd", "d@002d3/a@002eb.ibd", "mysql/user.MYD"}


def test_a_database_named_whole_needs_no_matching_table():
    assert "db1/t2.ibd" in kept(include=names("db1"), matching=expressions("^db1.t1$"))
    assert "db2/t1.ibd" not in kept(include=names("db1"), matching=expressions("t1"))


def test_lists_in_files(tmp_path):
    listed = tmp_path / "list"
    listed.write_text("db1.t1\n\ndb2.t1")  # the last line needs no newline here
    assert kept(include=tables_file(str(listed))) == {"db1/t1.ibd", "db1/t1.frm", "db2/t1.ibd"}
    listed.write_text("db1\ndb2.t1\n")
    assert kept(include=databases_file(str(listed))) >= {"db1/t2.ibd", "db2/t1.ibd"}
    listed.write_text("nodot\n")
    with pytest.raises(UsageError, match="`nodot` is not fully qualified name"):
        tables_file(str(listed))
    with pytest.raises(UsageError, match="Can't open"):
        tables_file(str(tmp_path / "missing"))


@pytest.mark.parametrize("entry", ["a/b", "a\\b", "~a", "x" * 321, "db."])
def test_what_cannot_be_a_name_is_an_error(entry):
    with pytest.raises(UsageError, match="is not valid|is too long"):
        names(entry)


@pytest.mark.parametrize(
    ("file", "text", "tables"),
    [
        ("a_very_long_tabl_366", '{"dd_object_type":"Table","dd_object":{"name":"a_very_long_table","columns":[]}}',
         {"a_very_long_table"}),
        ("@1o@002dmit_7", '{"dd_object":{"name":"\u00fc-mit"}}', {"@1o@002dmit"}),
        ("@1o@002d345678901234_7", '{"dd_object":{"name":"\u00fc-345678901234_567"}}',
         {"@1o@002d345678901234_567.MYD", "@1o@002d345678901234_7.sdi"}),
        ("t_1_7", "cut off", {"t_1"}),
        ("t_1_8", None, {"t_1"}),
    ],
)  # fmt: skip
def test_a_definition_goes_with_its_table(tmp_path, file, text, tables):
    (tmp_path / "db1").mkdir()
    (tmp_path / "db1/@1o@002d345678901234_567.MYD").touch()
    if text is not None:
        (tmp_path / "db1" / f"{file}.sdi").write_text(text)
    assert {*table_files(f"db1/{file}.sdi", str(tmp_path))} == {f"db1/{table}" for table in tables}
    assert table_files(f"db1/{file}.MYD", str(tmp_path)) == [f"db1/{file}.MYD"]
