"""The reference pages, rendered from the declarations: exit statuses from ``errors``, options from the commands."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator

from goldcopy import errors
from goldcopy.cli.build import help_text
from goldcopy.cli.main import COMMANDS
from goldcopy.options import Connection, fields, meta


def _errors(kind: type[errors.GoldcopyError]) -> Iterator[type[errors.GoldcopyError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _errors(below)


def exit_statuses() -> str:
    """docs/reference/exit-statuses.md."""
    lines = ["# Exit statuses", "", "Stable: scripts may rely on them. `--json` shows the code in its last line.", ""]
    lines += ["| status | code | when |", "| --- | --- | --- |", "| 0 | | success |"]
    own = [e for e in _errors(errors.GoldcopyError) if e.__module__ == errors.__name__]
    for error in sorted(own, key=lambda e: e.exit_status):
        said = " ".join((error.__doc__ or "").split())
        lines.append(f"| {error.exit_status} | `{error.code}` | {said} |")
    return "\n".join(lines) + "\n"


def commands() -> str:
    """docs/reference/commands.md."""
    lines = ["# Commands", "", "Rendered from the declarations in `goldcopy/commands`; `--help` shows the same.", ""]
    for name, entry in COMMANDS.items():
        declaration = getattr(importlib.import_module(f"goldcopy.commands.{entry.module}"), entry.declaration)
        lines += [f"## goldcopy {name}", "", help_text(declaration).replace("\n    ", "\n"), "", *_options(declaration)]
        if entry.connects:
            lines += ["And how to reach the server:", "", *_options(Connection)]
    return "\n".join(lines).rstrip() + "\n"


def _options(declaration: type) -> Iterator[str]:
    yield "| option | meaning | default |"
    yield "| --- | --- | --- |"
    for field in fields(declaration):
        about = meta(field)
        if about.secret:
            continue
        flag = about.metavar if about.positional else "--" + field.name.strip("_").replace("_", "-")
        default = "" if field.default in (dataclasses.MISSING, "", (), None) else str(field.default)
        example = f" (e.g. `{about.example}`)" if about.example else ""
        yield f"| `{flag}` | {about.help}{example} | {default} |"
    yield ""
