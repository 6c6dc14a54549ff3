"""Reference pages and help that differ from the program mislead on the worst day."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from goldcopy.cli import reference
from goldcopy.cli.main import COMMANDS, LazyGroup
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


def test_a_password_is_no_option():
    group = LazyGroup(name="goldcopy")
    out = CliRunner().invoke(group, ["backup", "--help"]).output
    assert "--password" not in out and "--ask-password" in out
