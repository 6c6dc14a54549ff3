"""click commands out of option dataclasses, so that an option is declared once."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any

import click

from goldcopy.options import Meta, fields, meta


def parameters(*declarations: type) -> list[click.Parameter]:
    """The click parameters of these dataclasses, in order of declaration; secrets never become parameters."""
    out: list[click.Parameter] = []
    for declaration in declarations:
        hints = typing.get_type_hints(declaration)
        for field in fields(declaration):
            if not meta(field).secret:
                out.append(_parameter(field, meta(field), hints[field.name]))
    return out


def _parameter(field: dataclasses.Field[Any], about: Meta, kind: Any) -> click.Parameter:
    required = field.default is dataclasses.MISSING
    if about.positional:
        return click.Argument([field.name], metavar=about.metavar or None, required=required)
    flag = "--" + field.name.strip("_").replace("_", "-")
    names = [field.name, flag]
    if kind is bool and field.default is True:
        names = [field.name, f"{flag}/--no-{flag[2:]}"]
    if about.short:
        names.append("-" + about.short)
    multiple = typing.get_origin(kind) is tuple
    return click.Option(
        names,
        help=about.help + (f" (e.g. {about.example})" if about.example else ""),
        required=required,
        default=None if required else field.default,
        is_flag=kind is bool,
        multiple=multiple,
        type=click.Choice(about.choices) if about.choices else _click_type(kind, about),
        metavar=None if about.choices else about.metavar or None,
        show_default=not multiple and kind is not bool and field.default not in ("", dataclasses.MISSING),
    )


def _click_type(kind: Any, about: Meta) -> Any:
    if isinstance(kind, types.GenericAlias):
        return str
    if kind is int:
        return click.IntRange(about.minimum, about.maximum)
    if kind is float:
        return _Float(about.minimum, about.maximum)
    return None if kind is bool else kind


class _Float(click.FloatRange):
    """A finite number: of those that are none, no comparison says that they are out of range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        return number if math.isfinite(number) else self.fail(f"{value} is not a number", param, ctx)


def take(declaration: type, values: dict[str, Any]) -> Any:
    """An instance of a dataclass from parsed values."""
    names = {f.name for f in dataclasses.fields(declaration)}
    return declaration(**{k: v for k, v in values.items() if k in names})


def help_text(declaration: type) -> str:
    """A command's description: the dataclass's docstring."""
    return (declaration.__doc__ or "").strip()
