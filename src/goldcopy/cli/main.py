"""Entry point of ``goldcopy``. A command's module is imported only when the command runs."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from goldcopy import __version__
from goldcopy.errors import GoldcopyError, Interrupted, system_failure
from goldcopy.startup import importing, occupy_streams

if TYPE_CHECKING:
    from goldcopy.cli.render import Renderer


class Entry(NamedTuple):
    """A command in the list. ``connects``: to a server. ``answers``: what it returns is shown, it tells no events."""

    module: str
    declaration: str
    summary: str
    connects: bool = False
    answers: bool = False


COMMANDS: dict[str, Entry] = {
    "backup": Entry("backup", "Backup", "take a hot backup, full or incremental, of a running server", connects=True),
    "restore": Entry("restore", "Restore", "make a data directory of a backup, increments included"),
    "prepare": Entry("prepare", "Prepare", "turn a backup directory into a clean data directory"),
    "check": Entry("check", "Check", "read a backup whole and find every changed bit"),
    "install-names": Entry(
        "install_names", "InstallNames", "put the names xtrabackup, mariadb-backup... where you want them"
    ),
    "info": Entry("info", "Info", "show what a backup is", answers=True),
}


class LazyGroup(click.Group):
    """Builds a command from its dataclass when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of a backup's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, its module imported."""
        return _build(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of ``--help``, without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


def _build(name: str) -> click.Command:
    from goldcopy.cli.build import help_text, parameters
    from goldcopy.options import Connection

    entry = COMMANDS[name]
    with importing():
        module = importlib.import_module(f"goldcopy.commands.{entry.module}")
    declaration = getattr(module, entry.declaration)
    params = parameters(declaration, Connection) if entry.connects else parameters(declaration)
    params += [
        click.Option(["--json", "as_json"], is_flag=True, help="events (or the answer) as JSON lines on stdout"),
        click.Option(["--quiet", "-q"], is_flag=True, help="only warnings and errors"),
        click.Option(["--verbose", "-v"], is_flag=True, help="more about what happens"),
    ]

    def callback(**values: Any) -> None:
        sys.exit(_execute(entry, module, declaration, values))

    return click.Command(
        name, params=params, callback=callback, help=help_text(declaration),
        context_settings={"help_option_names": ["--help"], "max_content_width": 110},
    )


def _execute(entry: Entry, module: Any, declaration: type, values: dict[str, Any]) -> int:
    """Run one command under a renderer. Returns the exit status."""
    from goldcopy import signals
    from goldcopy.cli.build import take
    from goldcopy.cli.render import JsonLines, Terminal

    as_json, quiet, verbose = values.pop("as_json"), values.pop("quiet"), values.pop("verbose")
    renderer: Renderer = JsonLines() if as_json else Terminal(0 if quiet else 2 if verbose else 1)
    signals.catch()
    try:
        command = take(declaration, values)
        if entry.connects:
            module.run(command, _connection(values), renderer)
        elif entry.answers:
            _show(module.run(command), as_json)
        else:
            module.run(command, renderer)
    except GoldcopyError as e:
        renderer.fail(e)
        return e.exit_status
    except OSError as e:
        error = system_failure(e)
        renderer.fail(error)
        return error.exit_status
    except KeyboardInterrupt as e:
        return _interrupted(e, renderer)
    finally:
        signals.ignore()
    return 0


def _interrupted(e: KeyboardInterrupt, renderer: Renderer) -> int:
    error = Interrupted(
        f"interrupted by {e}: locks were given back, nothing half-made is left",
        hint="run the same command again when you want to; it begins anew",
    )
    renderer.fail(error)
    return error.exit_status


def _connection(values: dict[str, Any]) -> Any:
    from goldcopy.cli.build import take
    from goldcopy.options import Connection

    connection: Connection = take(Connection, values)
    if not connection.ask_password:
        return connection
    password = click.prompt("Password", hide_input=True, default="", show_default=False, err=True)
    return dataclasses.replace(connection, password=password)


def _show(info: Any, as_json: bool) -> None:
    """The answer of ``info``: a table, or one JSON object."""
    from goldcopy.cli.render import human_bytes

    fields = dataclasses.asdict(info)
    if as_json:
        click.echo(json.dumps(fields))
        return
    width = max(map(len, fields))
    for name, value in fields.items():
        # a position without a file says nothing
        if value in ("", ()) or (name == "binlog_position" and not fields["binlog_file"]):
            continue
        text = f"{value:,} ({human_bytes(value)})" if name.endswith("_bytes") else value
        for line in text if isinstance(text, tuple) else (text,):
            click.echo(f"{name.replace('_', ' '):<{width}}  {line}")


def _group() -> click.Group:
    group = LazyGroup(
        name="goldcopy",
        help="Hot physical backup and restore for MySQL and MariaDB.",
        context_settings={"help_option_names": ["--help"], "max_content_width": 110},
        no_args_is_help=True,
    )
    return click.version_option(__version__, prog_name="goldcopy")(group)


def main() -> Any:
    """Run the command line."""
    occupy_streams()
    run: Callable[..., Any] = _group()
    return run(prog_name="goldcopy")
