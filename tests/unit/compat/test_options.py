"""A runbook's option must be known; what we do with it must be said, and said the same in the docs."""

from pathlib import Path

import pytest

from goldcopy.compat.options import OPTIONS, options_of
from goldcopy.compat.options.declare import Arg, Face, Kind, Standing
from goldcopy.compat.options.page import render
from goldcopy.compat.options.parser import parse
from goldcopy.compat.options.values import OptionError
from goldcopy.events import Warn

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

FACES = {
    "xtrabackup.txt": (Face.XTRABACKUP, Face.INNOBACKUPEX),
    "innobackupex-2.4.txt": (Face.INNOBACKUPEX,),
    "mariadb-backup-10.5.txt": (Face.MARIABACKUP,),
    "mariadb-backup-10.11.txt": (Face.MARIABACKUP,),
    "mariadb-backup-11.8.txt": (Face.MARIABACKUP,),
}
LISTED = [(name, *line.split("\t")) for name in FACES for line in (HERE / "lists" / name).read_text().splitlines()]


def known(faces: tuple[Face, ...], name: str) -> list:
    return [o for face in faces for o in options_of(face) if o.name == name]


def test_the_lists_are_there():
    assert {row[0] for row in LISTED} == set(FACES)
    assert len(LISTED) > 500


@pytest.mark.parametrize("row", LISTED, ids=lambda row: f"{row[0]}:{row[1]}")
def test_no_option_of_the_originals_is_unknown(row):
    listed, name, *_ = row
    assert known(FACES[listed], name), f"{listed} has --{name}"


@pytest.mark.parametrize(
    "row", [r for r in LISTED if len(r) == 4 and r[3] != "?"], ids=lambda row: f"{row[0]}:{row[1]}"
)
def test_short_forms_and_values_are_as_the_originals_have_them(row):
    listed, name, short, arg = row
    option = known(FACES[listed], name)[0]
    assert option.short == ("" if short == "-" else short)
    taken = {
        "none": option.arg is Arg.NONE or name == "innodb-doublewrite",  # a switch in 10.5, a word in 11.8
        "optional": option.arg in (Arg.OPTIONAL, Arg.EITHER),
        "required": option.arg in (Arg.REQUIRED, Arg.EITHER),
    }
    assert taken[arg], f"--{name} takes {option.arg}"


def test_every_name_is_declared_once_per_program():
    for face in Face:
        names = [o.name for o in options_of(face)]
        assert len(names) == len(set(names))
        shorts = [o.short for o in options_of(face) if o.short]
        assert len(shorts) == len(set(shorts)), face


@pytest.mark.parametrize("option", OPTIONS, ids=lambda o: o.name)
def test_every_option_says_what_becomes_of_it(option):
    assert len(option.text) > 10
    assert option.text[0].isupper() or option.text.startswith(("innobackupex", "zstd", "ON", "OFF"))
    if option.kind is Kind.ENUM:
        assert option.choices
    if option.alias_of:
        assert any(o.name == option.alias_of for o in OPTIONS)


def written(option) -> str:
    if option.arg is Arg.NONE:
        return f"--{option.name}"
    return f"--{option.name}={option.choices[0] if option.choices else '5'}"


IGNORED = [o for o in OPTIONS if o.standing is Standing.IGNORED]
REFUSED = [o for o in OPTIONS if o.standing is Standing.REFUSED]


def face_with(option) -> Face:
    return next(face for face in Face if option.releases & face.value)


@pytest.mark.parametrize("option", IGNORED, ids=lambda o: o.name)
def test_an_option_without_effect_is_not_passed_over_in_silence(option):
    settings = parse(face_with(option), [written(option)])
    assert any(isinstance(n, Warn) and option.text in n.text for n in settings.notes)


@pytest.mark.parametrize("option", REFUSED, ids=lambda o: o.name)
def test_an_option_that_would_be_wrong_to_follow_is_refused_with_the_reason(option):
    with pytest.raises(OptionError, match="is refused"):
        parse(face_with(option), [written(option)])


def test_quicklz_is_refused_but_other_compression_is_not():
    with pytest.raises(OptionError, match="zstd or lz4"):
        parse(Face.MARIABACKUP, ["--compress=quicklz"])
    assert parse(Face.MARIABACKUP, ["--compress"]).text("compress") == "zstd"


def test_the_reference_page_is_what_the_declarations_say():
    page = (ROOT / "docs/reference/compat-options.md").read_text(encoding="utf-8")
    assert page == render(), "run scripts/gen-docs"
    for option in OPTIONS:
        assert f"`--{option.name}" in page
