"""The other modes' options as the requests that do them."""

from __future__ import annotations

import os
from dataclasses import replace

from goldcopy.compat.copyback import CopyBackRequest
from goldcopy.compat.decompress import DecompressRequest
from goldcopy.compat.infofiles import Checkpoints
from goldcopy.compat.options.settings import Settings
from goldcopy.compat.peerdir import find_file, read_peer_dir, read_text
from goldcopy.compat.prepare import PrepareRequest
from goldcopy.compat.session import transition_phrase
from goldcopy.compat.sinks import cipher_of
from goldcopy.errors import UsageError
from goldcopy.image.chain import Image, Member
from goldcopy.restore.keys import KeyOptions
from goldcopy.restore.new_key import NewMasterKey

_HUNDRED = 100


def prepare_request(settings: Settings, target_dir: str) -> PrepareRequest:
    """``--prepare``."""
    return PrepareRequest(
        target_dir=target_dir,
        incremental_dir=settings.text("incremental-dir"),
        export=settings.flag("export"),
        apply_log_only=settings.flag("apply-log-only"),
        memory_bytes=memory_bytes(settings, _recorded_need(settings.text("incremental-dir") or target_dir)),
        force_recovery=settings.number("innodb-force-recovery"),
        rollback_prepared=settings.flag("rollback-prepared-trx"),
        check_tables=settings.flag("check-tables"),
        parallel=settings.number("parallel"),
        mysqld=settings.text("mysqld"),
        server_options=_server_options(settings),
        keys=key_options(settings),
    )


def memory_bytes(settings: Settings, need_bytes: int = 0) -> int:
    """--use-memory, or more of what is free: as much as was estimated, within --use-free-memory-pct."""
    share = settings.number("use-free-memory-pct")
    wanted = settings.number("use-memory")
    if not share:
        return wanted
    allowed = _free_memory_bytes() * share // _HUNDRED
    return max(wanted, min(allowed, need_bytes) if need_bytes else allowed)


def _recorded_need(directory: str) -> int:
    """What --estimate-memory recorded in the backup, 0 without."""
    name = find_file(directory, "checkpoints")
    return Checkpoints.parse(read_text(os.path.join(directory, name))).redo_memory if name else 0


def _free_memory_bytes() -> int:
    with open("/proc/meminfo", encoding="ascii") as f:
        kib = next((int(line.split()[1]) for line in f if line.startswith("MemAvailable:")), 0)
    return kib << 10


def _server_options(settings: Settings) -> tuple[str, ...]:
    if settings.face.mariadb and settings.on_command_line("plugin-dir"):
        return (f"--plugin-dir={settings.text('plugin-dir')}",)
    return ()


def key_options(settings: Settings) -> KeyOptions:
    """Where the user says that MySQL's keys are."""
    keyring = settings.text("component-keyring-config") or settings.text("keyring-file-data")
    return KeyOptions(
        keyring=os.path.abspath(keyring) if keyring else "",
        phrase=transition_phrase(settings),
        plugin_dir=settings.text("xtrabackup-plugin-dir"),
    )


def copy_back_request(settings: Settings, target_dir: str) -> CopyBackRequest:
    """``--copy-back`` and ``--move-back``."""
    return CopyBackRequest(
        target_dir=target_dir,
        datadir=settings.text("datadir"),
        move=settings.flag("move-back"),
        force_non_empty=settings.flag("force-non-empty-directories"),
        go_on=settings.number("innodb-force-recovery") > 0,
        parallel=settings.number("parallel"),
        data_home_dir=settings.text("innodb-data-home-dir"),
        data_file_path=settings.text("innodb-data-file-path"),
        undo_dir=settings.text("innodb-undo-directory"),
        log_dir=settings.text("innodb-log-group-home-dir"),
        aria_log_dir=settings.text("aria-log-dir-path"),
        rocksdb_dir=settings.text("rocksdb-datadir"),
        log_bin=settings.text("log-bin"),
        log_bin_index=settings.text("log-bin-index"),
    )


def new_master_key(settings: Settings, target_dir: str) -> NewMasterKey | None:
    """``--generate-new-master-key``. Raises UsageError without a keyring for the restored server."""
    if not settings.flag("generate-new-master-key"):
        return None
    found = read_peer_dir(target_dir)
    keyring = settings.text("component-keyring-config") or settings.text("keyring-file-data")
    if not keyring or found.manifest is None:
        raise UsageError(
            "--generate-new-master-key needs the keyring of the restored server, and a backup of this program",
            hint="name it with --keyring-file-data or --component-keyring-config",
        )
    old = replace(key_options(settings), keyring="")
    image = Image((Member(found.directory, found.manifest),))
    return NewMasterKey(image, old, os.path.abspath(keyring), settings.text("mysqld"))


def decompress_request(settings: Settings, target_dir: str) -> DecompressRequest:
    """``--decompress`` and ``--decrypt``."""
    return DecompressRequest(
        directory=target_dir,
        decompress=settings.flag("decompress"),
        cipher=cipher_of(settings, "decrypt"),
        remove_original=settings.flag("remove-original"),
        parallel=settings.number("parallel"),
        safe_names=settings.face.mariadb,
    )
