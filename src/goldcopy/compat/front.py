"""The backup programs of the peers: a command line in their words, translated, run, and told of in their words."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from goldcopy import __version__, signals
from goldcopy.compat.log import Log, Shape
from goldcopy.compat.options.declare import Face
from goldcopy.compat.options.parser import face_of, parse
from goldcopy.compat.options.settings import Settings
from goldcopy.compat.options.values import OptionError
from goldcopy.errors import GoldcopyError, Interrupted, system_failure
from goldcopy.startup import importing

if TYPE_CHECKING:
    from goldcopy.compat.optfiles import Loaded

CONFIG_NAME = "backup-my.cnf"
NEWEST_XTRABACKUP = "9.7.2"
"""The XtraBackup whose options are the newest that we know."""
_NEWEST_MARIADB = "11.8.9-MariaDB"
_SHAPES = {
    Face.XTRABACKUP: Shape.STRUCTURED,
    Face.INNOBACKUPEX: Shape.INNOBACKUPEX,
    Face.MARIABACKUP: Shape.MARIADB,
    Face.MARIABACKUP_INNOBACKUPEX: Shape.MARIADB,
}
_MODES = ("backup", "prepare", "copy-back", "move-back", "decompress", "decrypt", "stats", "print-param")
_INNOBACKUPEX_FLAG = "--innobackupex"


@dataclass(frozen=True)
class Program:
    """One call. ``name``: argv[0] as it came, for messages; ``environ``: the process's environment."""

    name: str
    face: Face
    args: tuple[str, ...]
    environ: Mapping[str, str]

    @property
    def tool(self) -> str:
        """What the information files call the program."""
        if self.face is Face.MARIABACKUP_INNOBACKUPEX:
            return _INNOBACKUPEX_FLAG
        return os.path.basename(self.name)


def run(name: str, argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one of the programs. Returns its exit status; everything is given back, whatever happens."""
    face, args = face_of(name, argv)
    program = Program(name, face, args, environ)
    log = Log(sys.stderr, _SHAPES[face])
    signals.catch()
    try:
        return _run(program, log)
    except OptionError as e:
        print(f"{name}: {e.message}", *([f"{name}: hint: {e.hint}"] if e.hint else []), sep="\n", file=sys.stderr)  # noqa: T201
        return e.exit_status if face.mariadb else 1
    except GoldcopyError as e:
        log.error(e)
        return e.exit_status if isinstance(e, Interrupted) else 1
    except OSError as e:
        log.error(system_failure(e))
        return 1
    except KeyboardInterrupt as e:
        log.error(Interrupted(f"interrupted by {e}", hint=_after_interrupt(program)))
        return Interrupted.exit_status
    finally:
        signals.ignore()


def _after_interrupt(program: Program) -> str:
    if _may_prepare(program.args):
        return "the backup may be half prepared: the same command goes on"
    if any(word.replace("_", "-").startswith("--move") for word in program.args):
        return "the same command goes on, with --force-non-empty-directories"
    return "locks were given back, and nothing half-made is left"


# -- the command line -----------------------------------------------------------------------


def _run(program: Program, log: Log) -> int:
    loaded = _load(program)
    if loaded.print_defaults:
        from goldcopy.compat.optfiles import printed

        print(printed(program.name, program.face, loaded), end="")  # noqa: T201
        return 0
    leading = program.args[: len(program.args) - len(loaded.args)]
    settings = parse(program.face, loaded.args, loaded.options, leading)
    if settings.flag("version"):
        _print_version(program)
        return 0
    if settings.flag("help"):
        return _print_usage(program, settings, 0)
    for text in () if program.face.mariadb else settings.recognized():
        log.note(text)
    settings.refuse_unknown()
    modes = modes_of(settings)
    _refuse_two(settings, modes)
    if not modes:
        return _print_usage(program, settings, 1)
    if settings.on_command_line("check-tables") and modes[0] != "prepare":
        raise OptionError("--check-tables is only valid with --prepare")
    log.verbose = settings.flag("verbose")
    log.plain(version_line(program))
    if program.face is Face.MARIABACKUP_INNOBACKUPEX:
        log.note(f"'{_INNOBACKUPEX_FLAG}' is deprecated and will be removed in a future release")
    for note in (*loaded.notes, *settings.notes):
        log.emit(note)
    return _dispatch(modes[0], program, settings, log)


def modes_of(settings: Settings) -> list[str]:
    """The modes that were asked for; --decrypt beside --decompress is one, and innobackupex backs up by default."""
    found = [mode for mode in _MODES if (settings.text(mode) if mode == "decrypt" else settings.flag(mode))]
    if "decompress" in found and "decrypt" in found:
        found.remove("decrypt")
    if not found and settings.face.positional and settings.directories:
        return ["backup"]
    return found


def _refuse_two(settings: Settings, modes: Sequence[str]) -> None:
    if len(modes) > 1:
        written = ["apply-log" if m == "prepare" and settings.face.positional else m for m in modes[:2]]
        raise OptionError(f"--{written[0]} and --{written[1]} are mutually exclusive", hint="give one at a time")


def _load(program: Program) -> Loaded:
    """The option files that count; ``--prepare`` reads the backup's own and no other."""
    from goldcopy.compat.optfiles import leading, load

    first = leading(program.args)
    words = parse(program.face, first.args) if _may_prepare(first.args) else None
    if words is not None and words.flag("prepare") and not first.print_defaults:
        _refuse_two(words, modes_of(words))
        own = os.path.join(target_of(words), CONFIG_NAME)
        if not os.path.exists(own):
            raise OptionError(f"Can't open {own} for reading", hint="--target-dir is the directory of a backup")
        return load(program.face, (f"--defaults-file={own}", *first.args), program.environ)
    return load(program.face, program.args, program.environ)


def _may_prepare(args: Sequence[str]) -> bool:
    return any(word.replace("_", "-").startswith(("--prep", "--apply")) for word in args)


def target_of(settings: Settings) -> str:
    """The backup's directory. Raises UsageError when innobackupex was given none."""
    if not settings.face.positional:
        return settings.text("target-dir")
    from goldcopy.compat.innobackupex import only_directory

    return only_directory(settings)


# -- what is printed -----------------------------------------------------------------------


def version_line(program: Program) -> str:
    """The line that ``--version`` prints, and that begins every log."""
    system = f"{platform.system()} ({platform.machine()}) (revision id: goldcopy {__version__})"
    if program.face.mariadb:
        return f"{program.name} based on MariaDB server {_NEWEST_MARIADB} {system}"
    name = "innobackupex" if program.face is Face.INNOBACKUPEX else "xtrabackup"
    return f"{name} version {NEWEST_XTRABACKUP} based on MySQL server {NEWEST_XTRABACKUP} {system}"


def _print_version(program: Program) -> None:
    if program.face is Face.MARIABACKUP_INNOBACKUPEX:
        print(f"innobackupex version {_NEWEST_MARIADB} (goldcopy {__version__})", end="")  # noqa: T201
    else:
        print(version_line(program), file=sys.stderr)  # noqa: T201


def _print_usage(program: Program, settings: Settings, status: int) -> int:
    from goldcopy.compat.options.usage import usage

    print(usage(settings, program.name))  # noqa: T201
    return status


# -- the modes -----------------------------------------------------------------------


def _dispatch(mode: str, program: Program, settings: Settings, log: Log) -> int:
    if mode == "print-param":
        from goldcopy.compat.options.usage import print_param

        print(print_param(settings), end="")  # noqa: T201
        if settings.face.mariadb:
            log.completed()
        return 0
    if settings.number("open-files-limit"):
        _raise_open_files(settings.number("open-files-limit"), log)
    _ACTIONS[mode](program, settings, log)
    # a signal from here on changes nothing: neither what was done nor what is said of it
    signals.ignore()
    log.completed()
    return 0


def _raise_open_files(wanted: int, log: Log) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else soft, hard))
    log.note(f"open files limit requested {wanted}, set to {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}")


def _backup(program: Program, settings: Settings, log: Log) -> None:
    with importing():
        from goldcopy.compat.backup import Call, backup
        from goldcopy.compat.innobackupex import backup_dir, with_base

    if settings.face.positional:
        log.note("Starting the backup operation")
    settings = with_base(settings)
    backup(settings, Call(program.tool, backup_dir(settings), program.environ), log)


def _prepare(_program: Program, settings: Settings, log: Log) -> None:
    from goldcopy.compat.prepare import prepare
    from goldcopy.compat.prepared import describe_prepared
    from goldcopy.compat.requests import prepare_request
    from goldcopy.image.extract import settle
    from goldcopy.restore.durable import file_time_ns

    request = prepare_request(settings, target_of(settings))
    for directory in filter(None, (request.target_dir, request.incremental_dir)):
        # another program than ours may have unpacked the stream
        settle(directory)
    started_ns = file_time_ns(request.target_dir)
    done = prepare(request, log.emit)
    if done.family == "mariadb" or request.export:
        describe_prepared(request.target_dir, request.incremental_dir, started_ns)


def _copy_back(_program: Program, settings: Settings, log: Log) -> None:
    from goldcopy.compat.copyback import copy_back
    from goldcopy.compat.requests import copy_back_request, new_master_key

    target = target_of(settings)
    copy_back(copy_back_request(settings, target), log.emit, new_master_key(settings, target))


def _decompress(_program: Program, settings: Settings, log: Log) -> None:
    from goldcopy.compat.decompress import decompress
    from goldcopy.compat.requests import decompress_request
    from goldcopy.image.extract import settle

    settle(target_of(settings))
    decompress(decompress_request(settings, target_of(settings)), log.emit)


def _stats(_program: Program, settings: Settings, log: Log) -> None:
    from goldcopy.compat.backup import filters_of
    from goldcopy.compat.stats import stats

    directory = settings.text("datadir") or target_of(settings)
    for line in stats(directory, filters_of(settings)):
        print(line)  # noqa: T201


_ACTIONS: Mapping[str, Callable[[Program, Settings, Log], None]] = {
    "backup": _backup,
    "prepare": _prepare,
    "copy-back": _copy_back,
    "move-back": _copy_back,
    "decompress": _decompress,
    "decrypt": _decompress,
    "stats": _stats,
}
