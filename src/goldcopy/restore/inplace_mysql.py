"""Full recovery of a MySQL backup of ours in its own directory: redo written as a log, then crash recovery.

Interrupted while the server recovers, the directory is a crashed server's: its own logs lead on, and the redo window
must not be written again, since pages may be newer than its end by then. A mark tells the two apart.
"""

from __future__ import annotations

import os
import re

import msgspec

from goldcopy.dialect import choose
from goldcopy.events import Emit, Note, Phase
from goldcopy.formats.packed import Packed
from goldcopy.image.chain import Image, Member
from goldcopy.image.manifest import MANIFEST_NAME, REDO_NAME, Manifest, Plain, Space, dump, load
from goldcopy.restore.by_id import apply_by_id
from goldcopy.restore.durable import write_file
from goldcopy.restore.keys import lent
from goldcopy.restore.losses import refuse_losses
from goldcopy.restore.materialise import Placement
from goldcopy.restore.recovery import (
    Recovered,
    RecoveryOptions,
    memory_for,
    recover,
    refuse_errors,
    server_binary,
    tidy,
    window_of,
)
from goldcopy.restore.redo_only import LOG_NAME
from goldcopy.restore.remote import confined
from goldcopy.restore.sums import prepared_manifest
from goldcopy.restore.xa import rollback_prepared
from goldcopy.server.binary import home_options
from goldcopy.server.process import RecoveryRun

PEER_REDO_NAME = "xtrabackup_logfile"
RECOVERING_NAME = "goldcopy.recovering"
_KEPT = ".goldcopy-kept"
_NUMBERED = re.compile(r"\.\d{6,}")


def take_over(directory: str, newest: Manifest) -> None:
    """After an increment was laid over ``directory``: its manifest is the increment's, as that of a full backup."""
    spaces = Packed(Space, (msgspec.structs.replace(s, stored="full", sums="") for s in newest.spaces))
    plain = Packed(Plain, (
        msgspec.structs.replace(p, stored="file", sums="") if p.stored == "base" else p for p in newest.plain
    ))
    manifest = msgspec.structs.replace(
        newest, kind="full", base_id="", base_path="", since=0, spaces=spaces, plain=plain
    )
    write_file(os.path.join(directory, MANIFEST_NAME), dump(manifest))


def recover_in_place(
    directory: str, options: RecoveryOptions, emit: Emit, *, decide_xa: bool = False
) -> tuple[str, int]:
    """Recover, roll back, and mark the manifest as prepared. ``decide_xa``: roll XA PREPARED transactions back too.

    Returns the binlog file and position that InnoDB itself remembered, ("", 0) where it remembers none or was
    recovered by an earlier call. Raises RecoveryFailed and what ``recover`` raises; the same call may be made again
    afterwards.
    """
    manifest = load(directory)
    mark = os.path.join(directory, RECOVERING_NAME)
    binlog = _binlog_files(manifest)
    _set_aside(directory, binlog)
    remembered = ("", 0)
    if manifest.state == "prepared":
        emit(Note("the directory has been recovered before"))
    elif os.path.exists(mark):
        emit(Phase("recover", "an interrupted recovery goes on"))
        _run_again(directory, manifest, options, emit)
    else:
        recovered = _begin(directory, manifest, options, emit)
        remembered = recovered.binlog_file, recovered.binlog_position
    if decide_xa:
        _run_again(directory, manifest, options, emit, decide_xa=True)
    _put_back(directory, binlog)
    if manifest.state != "prepared":
        _remove_other_binlogs(directory, binlog)
    write_file(os.path.join(directory, MANIFEST_NAME), dump(prepared_manifest(manifest, directory)))
    if os.path.exists(mark):
        os.unlink(mark)
    return remembered


def recovery_has_begun(directory: str, newest: Manifest) -> bool:
    """Whether ``take_over`` of that increment and the beginning of the recovery are behind us.

    Its pages must not be laid over once more then: those that are there are newer, and the redo that would lead from
    the one to the other is used up.
    """
    there = load(directory)
    mark = os.path.join(directory, RECOVERING_NAME)
    return there.id == newest.id and (there.state == "prepared" or os.path.exists(mark))


def _binlog_files(manifest: Manifest) -> tuple[str, ...]:
    name = os.path.basename(manifest.position.binlog_file)
    return (name, name.rpartition(".")[0] + ".index") if name else ()


def _set_aside(directory: str, names: tuple[str, ...]) -> None:
    """The binlog that restored servers go on with: the recovering server writes one of the same name."""
    for path in (os.path.join(directory, name) for name in names):
        if os.path.exists(path) and not os.path.exists(path + _KEPT):
            os.rename(path, path + _KEPT)


def _put_back(directory: str, names: tuple[str, ...]) -> None:
    for path in (os.path.join(directory, name) for name in names):
        if os.path.exists(path + _KEPT):
            os.replace(path + _KEPT, path)


def _remove_other_binlogs(directory: str, names: tuple[str, ...]) -> None:
    """Those of recoveries that were cut off, and what an increment has succeeded. Nobody has run a server of his own
    on what was not recovered yet.
    """
    base = names[0].rpartition(".")[0] if names else ""
    for name in os.listdir(directory) if base else ():
        if name not in names and _NUMBERED.fullmatch(name.removeprefix(base)):
            os.unlink(os.path.join(directory, name))


def _begin(directory: str, manifest: Manifest, options: RecoveryOptions, emit: Emit) -> Recovered:
    ours = os.path.join(directory, REDO_NAME)
    theirs = os.path.join(directory, PEER_REDO_NAME)
    borrowed = not os.path.exists(ours) and os.path.exists(theirs)
    _grow(directory, manifest)
    if borrowed:
        os.link(theirs, ours)
    image, placement = Image((Member(directory, manifest),)), Placement(directory, inside=True)
    mark = os.path.join(directory, RECOVERING_NAME)
    try:
        return recover(image, placement, options, emit, lambda: write_file(mark, ()))
    finally:
        if borrowed:
            os.unlink(ours)


def _grow(directory: str, manifest: Manifest) -> None:
    """Tablespaces that grew after they had been copied: the redo writes into what is a hole here."""
    for space in manifest.spaces:
        path = os.path.join(directory, space.path)
        if os.path.getsize(path) < space.size_final:
            os.truncate(path, space.size_final)


def _run_again(
    directory: str, manifest: Manifest, options: RecoveryOptions, emit: Emit, *, decide_xa: bool = False
) -> None:
    """Start the server on the logs of its own that are there."""
    options = options.settled()
    dialect = choose(manifest.server.version, force=True)
    binary = server_binary(manifest, options)
    base = os.path.basename(manifest.position.binlog_file).rpartition(".")[0]
    tail = base if base and os.path.exists(os.path.join(directory, base + ".index")) else ""
    server_options = [
        *dialect.recovery_options(
            manifest.server.variables, log_bytes=64 << 20, log_files=1, binlog=tail,
            memory_bytes=memory_for(manifest.redo.size, options.memory_bytes),
        ),
        *(["--skip-grant-tables"] if decide_xa else []),
        *options.extra,
    ]
    log = os.path.join(directory, LOG_NAME)
    image, placement = Image((Member(directory, manifest),)), Placement(directory, inside=True)
    with lent(image, options.keys, binary, directory) as server, confined(directory, server.program) as program:
        command = [*server_options, *home_options(binary), *server.options]
        if dialect.renames_by_name and not decide_xa:
            apply_by_id(manifest, window_of(manifest), placement, program, command, log, emit)
        with RecoveryRun(program, directory, command, log, emit) as run:
            run.wait_ready()
            if decide_xa:
                rollback_prepared(run.socket_path, emit)
            run.stop()
            refuse_errors(dialect, manifest, run.log_text(), emit)
    refuse_losses(manifest, placement)
    tidy(directory)
