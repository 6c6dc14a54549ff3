"""The reference page of the peers' options, rendered from the declarations."""

from __future__ import annotations

from goldcopy.compat.options import OPTIONS, TOPICS
from goldcopy.compat.options.declare import Arg, Kind, Option, Release, Standing

_NAMES = (
    ("XtraBackup 2.4", Release.XB24),
    ("XtraBackup 8.0", Release.XB80),
    ("XtraBackup 8.4", Release.XB84),
    ("XtraBackup 9.7", Release.XB97),
    ("innobackupex 2.4", Release.IBX24),
    ("mariadb-backup 10.5", Release.MB105),
    ("mariadb-backup 10.11", Release.MB1011),
    ("mariadb-backup 11.8", Release.MB118),
)
_SHORT = (
    ("all", Release.ALL),
    ("xtrabackup", Release.XB),
    ("xtrabackup 8.0+", Release.XB8),
    ("mariadb-backup", Release.MB),
)
_INTRO = """# Options of xtrabackup, innobackupex and mariadb-backup

<!-- made by scripts/gen-docs from src/goldcopy/compat/options; do not edit -->

Every option of these programs is understood under the program's name:
{names}.

Of {total} options, {meaning} do what the original does, {ignored} are accepted without effect (a note on stderr says
why), and {refused} are refused, since following them would be wrong. Anything else is an error.

Dashes and underscores are alike, names may be shortened while they stay unambiguous, and `--skip-`, `--disable-`,
`--enable-` and `--loose-` stand before any of them. Sizes take `K`, `M`, `G`, `T`, `P`, `E`.
"""


def render() -> str:
    """The page, as Markdown."""
    names = ", ".join(name for name, _ in _NAMES)
    counts = {standing.value: sum(o.standing is standing for o in OPTIONS) for standing in Standing}
    parts = [_INTRO.format(names=names, total=len(OPTIONS), **counts)]
    for title, options in TOPICS:
        rows = "\n".join(_row(option) for option in sorted(options, key=lambda o: o.name))
        parts.append(
            f"## {title}\n\n| option | default | programs | here | what it does, or why not |\n"
            f"| --- | --- | --- | --- | --- |\n{rows}\n"
        )
    return "\n".join(parts)


def _row(option: Option) -> str:
    cells = (_written(option), _default(option), _programs(option), option.standing.value, _text(option))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _written(option: Option) -> str:
    value = "|".join(option.choices) if option.choices else "N" if _is_number(option) else "VALUE"
    tail = {Arg.NONE: "", Arg.REQUIRED: f"={value}"}.get(option.arg, f"[={value}]")
    short = f" `-{option.short}`" if option.short else ""
    return f"`--{option.name}{tail}`{short}"


def _is_number(option: Option) -> bool:
    return option.kind in (Kind.NUMBER, Kind.SIZE)


def _default(option: Option) -> str:
    if option.kind in (Kind.FLAG, Kind.ACTION):
        return "on" if option.default else "off"
    return "" if option.default is None else str(option.default)


def _programs(option: Option) -> str:
    left, words = option.releases, []
    for word, group in _SHORT + _NAMES:
        if group in left:
            words.append(word)
            left &= ~group
    return ", ".join(words)


def _text(option: Option) -> str:
    refusals = "".join(f" `{value}` is refused: {why}" for value, why in option.refuse)
    return option.text + refusals
