"""Reference pages and help that differ from the program mislead on the worst day."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from goldcopy.cli import reference
from goldcopy.cli.main import COMMANDS, LazyGroup
from goldcopy.dialect import choose
from goldcopy.options import Connection, meta

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference"


def test_exit_statuses_page_is_what_errors_declare():
    assert (DOCS / "exit-statuses.md").read_text() == reference.exit_statuses(), "run scripts/gen-docs"


def test_commands_page_is_what_commands_declare():
    assert (DOCS / "commands.md").read_text() == reference.commands(), "run scripts/gen-docs"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name):
    module, declared, *_ = COMMANDS[name]
    declaration = getattr(importlib.import_module(f"goldcopy.commands.{module}"), declared)
    for field in (*dataclasses.fields(declaration), *dataclasses.fields(Connection)):
        assert meta(field).secret or len(meta(field).help) >= 8, field.name


@pytest.mark.parametrize("name", COMMANDS)
def test_help_alone_names_every_option(name):
    group = LazyGroup(name="goldcopy", context_settings={"help_option_names": ["--help"]})
    out = CliRunner().invoke(group, [name, "--help"]).output
    module, declared, *_ = COMMANDS[name]
    declaration = getattr(importlib.import_module(f"goldcopy.commands.{module}"), declared)
    for field in dataclasses.fields(declaration):
        about = meta(field)
        wanted = about.metavar if about.positional else "--" + field.name.strip("_").replace("_", "-")
        assert wanted in out


@pytest.mark.parametrize(
    ("row", "version"), [("MariaDB", "11.8.9-MariaDB"), ("MySQL 8.0 and later", "9.7.0"), ("MySQL 5.6, 5.7", "5.7.44")]
)
def test_the_privileges_in_the_manual_are_those_that_are_asked_for(row, version):
    how_to = (DOCS.parent / "how-to" / "backup-and-restore.md").read_text()
    listed = next(line for line in how_to.splitlines() if line.startswith(f"| {row} |"))
    always, _, replicas = listed.partition("on replicas")
    for need in choose(version).needs:
        where = {"backup": always, "binlog": always, "replica-position": replicas}.get(need.feature, listed)
        if need.feature not in ("kill", "history", "locks-of-others", "replica"):
            assert need.any_of[0] in where, need


def test_a_password_is_no_option():
    group = LazyGroup(name="goldcopy")
    out = CliRunner().invoke(group, ["backup", "--help"]).output
    assert "--password" not in out and "--ask-password" in out
