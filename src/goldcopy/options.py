"""How options are declared: once, as dataclass fields that carry their own help, example and secrecy.

The command line, ``--help``, the reference page and (later) the configuration file are all rendered from these
fields, so they cannot drift apart. A test fails on a field without help.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Meta:
    """What an option field knows about itself. ``minimum``, ``maximum``: of a number."""

    help: str
    example: str = ""
    metavar: str = ""
    short: str = ""
    choices: tuple[str, ...] = ()
    positional: bool = False
    secret: bool = False
    minimum: int = 0
    maximum: int | None = None


def opt(
    help: str,
    default: Any = dataclasses.MISSING,
    *,
    example: str = "",
    metavar: str = "",
    short: str = "",
    choices: tuple[str, ...] = (),
    positional: bool = False,
    secret: bool = False,
    minimum: int = 0,
    maximum: int | None = None,
) -> Any:
    """Declare one option. Type and name come from the field; no default means that it must be given."""
    meta = {"goldcopy": Meta(help, example, metavar, short, choices, positional, secret, minimum, maximum)}
    return field(default=default, metadata=meta)


def fields(declaration: type) -> list[dataclasses.Field[Any]]:
    """The options of a declaration in the order in which people read them: its own, then those that it shares."""
    return sorted(dataclasses.fields(declaration), key=lambda f: f.name not in declaration.__annotations__)


def meta(f: dataclasses.Field[Any]) -> Meta:
    """The Meta of a field declared with ``opt``."""
    found: Meta = f.metadata["goldcopy"]
    return found


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How to reach the server. A password comes from an option file, the environment, or a prompt; never argv."""

    socket: str = opt("unix socket of the server", "", example="/run/mysqld/mysqld.sock", metavar="PATH", short="S")
    host: str = opt("host of the server (its files must be reachable here all the same)", "", metavar="NAME", short="h")
    port: int = opt("TCP port", 0, metavar="N", short="P", maximum=65535)
    user: str = opt("account to log in as", "", metavar="NAME", short="u")
    ask_password: bool = opt("prompt for the password", False, short="p")
    password: str = opt("", "", secret=True)
    defaults_file: str = opt(
        "read only this option file (groups [client], [goldcopy])", "", example="/etc/goldcopy.cnf", metavar="FILE"
    )
    ssl_ca: str = opt("trust this CA and use TLS over TCP", "", metavar="FILE")
    connect_timeout_s: float = opt("give up connecting after this many seconds", 10.0, metavar="S")
