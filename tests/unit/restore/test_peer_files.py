"""Marks of DDL, copy-back and decompressing on directories that need no server."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from goldcopy import signals
from goldcopy.compat.copyback import CopyBackRequest, copy_back
from goldcopy.compat.ddlmarks import apply_marks
from goldcopy.compat.decompress import DecompressRequest, decompress
from goldcopy.compat.front import run
from goldcopy.compat.increments import read_increment
from goldcopy.compat.peerdir import parse_settings, read_peer_dir
from goldcopy.compat.prepare import PrepareRequest, prepare
from goldcopy.compat.stats import stats
from goldcopy.errors import BackupInvalid, NoSpace, ServerRefused, TargetRefused, Unsupported, UsageError
from goldcopy.events import Event, Warn, silent
from goldcopy.image.codecs import Zstd
from goldcopy.image.manifest import Manifest, Plain, Position, Redo, Server, Space, dump
from goldcopy.restore.sums import file_sums

CHECKPOINTS = "backup_type = log-applied\nfrom_lsn = 0\nto_lsn = 5\nlast_lsn = 6\n"


def backup(root: Path, **files: str) -> Path:
    """A prepared backup; ``__`` in a name stands for a slash."""
    home = root / "backup"
    for name, text in {"xtrabackup_checkpoints": CHECKPOINTS, "d__t.ibd": "table", **files}.items():
        path = home / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return home


def names(folder: Path) -> set[str]:
    """All files, relative."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_marks_drop_exchange_and_renew_tables(tmp_path: Path) -> None:
    home = backup(tmp_path, **{
        "d__t.del": "", "d__a.ibd": "a", "d__a.ren": "d/b", "d__b.ibd": "b", "d__b.ren": "e/a",
        "d__n.new": "fresh", "d__n.ibd": "stale",
    })  # fmt: skip
    apply_marks(str(home))
    apply_marks(str(home))
    found = {str(p.relative_to(home)): p.read_text() for p in home.rglob("*.*") if p.is_file()}
    assert found == {"d/b.ibd": "a", "e/a.ibd": "b", "d/n.ibd": "fresh"}


def test_a_rename_mark_cannot_lead_out_of_the_backup(tmp_path: Path) -> None:
    home = backup(tmp_path, **{"d__t.ren": "../../outside"})
    with pytest.raises(BackupInvalid):
        apply_marks(str(home))
    assert (home / "d/t.ibd").exists()


def test_a_failed_copy_back_takes_its_files_back(tmp_path: Path) -> None:
    home = backup(tmp_path, ibdata1="system")
    (home / "d/u.ibd").symlink_to(tmp_path / "nowhere")
    with pytest.raises(TargetRefused):
        copy_back(CopyBackRequest(target_dir=str(home), datadir=str(tmp_path / "data")), silent)
    assert names(tmp_path / "data") == set()
    assert "d/t.ibd" in names(home)


def test_no_file_is_overwritten_even_in_a_directory_that_may_hold_others(tmp_path: Path) -> None:
    home = backup(tmp_path, ibdata1="system")
    data = tmp_path / "data"
    (data / "d").mkdir(parents=True)
    (data / "d/t.ibd").write_text("mine")
    for move in (False, True):
        with pytest.raises(TargetRefused, match="File exists"):
            copy_back(
                CopyBackRequest(target_dir=str(home), datadir=str(data), force_non_empty=True, move=move), silent
            )
        assert names(data) == {"d/t.ibd"}
        assert (data / "d/t.ibd").read_text() == "mine"
        assert "ibdata1" in names(home)


def die_at(step: int, monkeypatch: pytest.MonkeyPatch, across: bool) -> None:
    """End this process at its so-manieth call that changes a file. ``across``: names cannot be given across."""
    left = [step]

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*args: object, **rest: object) -> object:
            left[0] -= 1
            if not left[0]:
                os._exit(9)
            if across and call is link:
                raise OSError(errno.EXDEV, "no")
            return call(*args, **rest)

        return wrapped

    link = os.link
    for name in ("link", "unlink", "open", "mkdir", "pwrite", "fsync"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))


@pytest.mark.parametrize("across", [False, True])
def test_a_move_that_was_killed_anywhere_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, across: bool
) -> None:
    """Also where a link file says that a table lies elsewhere, and whether or not the file system is another."""
    want = {"data/d/t.ibd": "table", "data/ibdata1": "system", "far/d/x.ibd": "x", "data/undo001": "u"}
    for step in itertools.count(1):
        root = tmp_path / str(step)
        root.mkdir()
        home = backup(root, ibdata1="system", undo001="u", **{"d__x.ibd": "x", "d__x.isl": f"{root}/far/d/x.ibd"})
        request = CopyBackRequest(target_dir=str(home), datadir=str(root / "data"), move=True)
        child = os.fork()
        if not child:
            die_at(step, monkeypatch, across)
            copy_back(request, silent)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:
            break
        assert status == 9
        copy_back(replace(request, force_non_empty=True), silent)
        assert {name: (root / name).read_text() for name in want} == want
        assert not [name for name in names(home) if name.startswith(("d/", "i", "u"))]
    assert step > 15


def test_a_copy_that_was_killed_anywhere_is_not_taken_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command says so, or does it all; and the backup is untouched."""
    home = backup(tmp_path, ibdata1="system", undo001="u")
    before = names(home)
    for step in itertools.count(1):
        data = tmp_path / str(step)
        request = CopyBackRequest(target_dir=str(home), datadir=str(data))
        child = os.fork()
        if not child:
            die_at(step, monkeypatch, across=False)
            copy_back(request, silent)
            os._exit(0)
        if not os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            break
        whole = data.is_dir() and {"d/t.ibd", "ibdata1", "undo001"} == names(data)
        try:
            copy_back(request, silent)
        except TargetRefused as e:
            assert "is not whole" in e.message or (whole and "is not empty" in e.message)
        assert names(home) == before
    assert step > 15


def test_a_signal_ends_the_copy_of_a_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread that it does not reach: there is no waiting for the file's end, and nothing is left of it."""
    home = backup(tmp_path, d__large="x" * (3 << 20))
    copied: list[int] = []
    monkeypatch.setattr(signals, "_received", [])

    def told(fd: int, data: memoryview, offset: int, *_: int) -> None:
        copied.append(offset)
        signals._received.append("SIGTERM")

    monkeypatch.setattr("goldcopy.image.osfile.write_at", told)
    with pytest.raises(KeyboardInterrupt):
        copy_back(CopyBackRequest(target_dir=str(home), datadir=str(tmp_path / "data")), silent)
    assert len(copied) < 3
    assert names(tmp_path / "data") == set()


@pytest.mark.parametrize("call", ["mkdir", "open", "fsync"])
def test_a_signal_right_after_something_was_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    home = backup(tmp_path, ibdata1="system")
    data = tmp_path / "data"
    data.mkdir()
    real = getattr(os, call)

    def interrupted(what: object, *args: Any, **more: Any) -> Any:
        done = real(what, *args, **more)
        if call == "fsync":
            raise OSError(errno.EIO, "the disk is broken")
        if str(what).startswith(f"{data}/"):
            raise KeyboardInterrupt
        return done

    with monkeypatch.context() as patch:
        patch.setattr(os, call, interrupted)
        with pytest.raises((KeyboardInterrupt, OSError)):
            copy_back(CopyBackRequest(target_dir=str(home), datadir=str(data)), silent)
    assert not list(data.iterdir())


def test_a_move_to_a_full_file_system_leaves_all_in_the_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = backup(tmp_path, ibdata1="system")
    before = names(home)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr("os.link", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "no")))
        patch.setattr("goldcopy.compat.copyback.copy_data", full)
        request = CopyBackRequest(target_dir=str(home), datadir=str(tmp_path / "data"), move=True)
        with pytest.raises(NoSpace):
            copy_back(request, silent)
    assert (names(home), names(tmp_path / "data")) == (before, set())
    copy_back(request, silent)
    assert (tmp_path / "data/d/t.ibd").exists()


def test_what_is_ours_and_what_only_tells_of_the_backup_is_not_copied(tmp_path: Path) -> None:
    home = backup(tmp_path, **{
        "goldcopy.keys": "", "backup-my.cnf": "", "xtrabackup_binlog_info": "b\t1\n", "xtrabackup_info": "uuid = 1\n",
        "d__x.ibd.qp": "", "d__x.ibd": "x",
    })  # fmt: skip
    copy_back(CopyBackRequest(target_dir=str(home), datadir=str(tmp_path / "data")), silent)
    assert names(tmp_path / "data") == {"d/t.ibd", "d/x.ibd", "xtrabackup_info"}


def _described(home: Path) -> None:
    """Our manifest, as --prepare leaves it."""
    spaces = [
        Space(path=name, space_id=5, identity="", page_size=16384, size=size, size_final=size, stored="full", sums=sums)
        for name in ("d/t.ibd", "d/holes.ibd", "d/empty.ibd")
        for size, sums in [file_sums(str(home / name))]
    ]
    manifest = Manifest(
        id="i", kind="full", state="prepared", tool="t", started="", finished="", spaces=spaces, position=Position(),
        plain=[Plain(path="d/t.frm", size=3, sums=file_sums(str(home / "d/t.frm"))[1]), Plain(path="e", stored="dir")],
        server=Server(family="mariadb", version="10.11.9-MariaDB", dialect="", identity=""),
        redo=Redo(layout="R108", start=0, checkpoint=5, end=6),
    )  # fmt: skip
    (home / "goldcopy.manifest").write_bytes(b"".join(dump(manifest)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, ""),
        ({"d/t.ibd": b"taBle"}, r"d/t\.ibd is not what it was .* offset 0 on"),
        ({"d/t.frm": b"fr"}, r"d/t\.frm .* offset 0 on"),
        ({"d/empty.ibd": b"x"}, r"d/empty\.ibd .* offset 0 on"),
        ({"d/holes.ibd": bytes(5 << 20) + b"end"}, r"d/holes\.ibd .* offset 3145728 on"),
    ],
)
@pytest.mark.parametrize("copied", [True, False])
def test_what_was_changed_after_it_was_prepared_is_not_copied_back_in_silence(
    change: dict[str, bytes], told: str, copied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = backup(tmp_path, **{"d__t.frm": "frm", "d__empty.ibd": "", "d__holes.ibd": "", "d__new.ibd": "not known"})
    with open(home / "d/holes.ibd", "r+b") as f:
        for at in (3 << 20, (5 << 20) - 3):
            f.seek(at + 1)
            f.write(b"end")
    _described(home)
    for name, content in change.items():
        (home / name).write_bytes(content)
    before = names(home)
    monkeypatch.setattr("goldcopy.compat.copyback.second_name", lambda *_: False)
    request = CopyBackRequest(target_dir=str(home), datadir=str(tmp_path / "data"), move=not copied)
    warned: list[Event] = []
    if told:
        with pytest.raises(BackupInvalid, match=told):
            copy_back(request, silent)
        assert (names(home), names(tmp_path / "data")) == (before, set())
    copy_back(replace(request, go_on=True), warned.append)
    assert {n for n in names(tmp_path / "data") if n.startswith("d/")} == {n for n in before if n.startswith("d/")}
    assert sum(isinstance(event, Warn) for event in warned) == len(change)


def test_what_another_program_has_prepared_since_is_not_compared(tmp_path: Path) -> None:
    home = backup(tmp_path, **{"d__t.frm": "frm", "d__empty.ibd": "", "d__holes.ibd": ""})
    _described(home)
    (home / "d/t.ibd").write_text("with an increment of the real tool")
    (home / "xtrabackup_checkpoints").write_text(CHECKPOINTS.replace("5", "7"))
    copy_back(CopyBackRequest(target_dir=str(home), datadir=str(tmp_path / "data")), silent)


def test_a_manifest_that_is_damaged_ends_a_copy_back_unless_damage_is_to_be_passed_over(tmp_path: Path) -> None:
    home = backup(tmp_path, **{"goldcopy.manifest": "?"})
    request = CopyBackRequest(target_dir=str(home), datadir=str(tmp_path / "data"))
    with pytest.raises(BackupInvalid, match="manifest"):
        copy_back(request, silent)
    copy_back(replace(request, go_on=True), silent)
    assert names(tmp_path / "data") == {"d/t.ibd"}


def test_a_table_that_is_there_in_compressed_form_only_is_not_left_out_silently(tmp_path: Path) -> None:
    home = backup(tmp_path, **{"d__x.ibd.zst": ""})
    with pytest.raises(BackupInvalid, match=r"d/x\.ibd"):
        copy_back(CopyBackRequest(target_dir=str(home), datadir=str(tmp_path / "data")), silent)
    assert not (tmp_path / "data").exists()


def test_absolute_and_relative_system_files_go_where_the_server_has_them(tmp_path: Path) -> None:
    home = backup(tmp_path, ibdata1="1", second="2", undo001="u", **{"d__t.isl": f"{tmp_path}/far/d/t.ibd"})
    copy_back(
        CopyBackRequest(
            target_dir=str(home), datadir=str(tmp_path / "data"), undo_dir="../undo",
            data_file_path=f"{tmp_path}/abs/ibdata1:6M;second:1M:autoextend",
        ), silent,
    )  # fmt: skip
    assert (tmp_path / "abs/ibdata1").read_text() == "1"
    assert (tmp_path / "far/d/t.ibd").read_text() == "table"
    assert (tmp_path / "undo/undo001").read_text() == "u"
    assert names(tmp_path / "data") == {"second", "d/t.isl"}


def test_decompressing_leaves_no_half_file_and_overwrites_nothing(tmp_path: Path) -> None:
    home = tmp_path / "b"
    (home / "d").mkdir(parents=True)
    packed = Zstd().encode(b"rows" * 100000)
    (home / "d/t.ibd.zst").write_bytes(packed[:-10])
    with pytest.raises(BackupInvalid):
        decompress(DecompressRequest(directory=str(home)), silent)
    assert names(home) == {"d/t.ibd.zst"}
    (home / "d/t.ibd.zst").write_bytes(packed)
    (home / "d/t.ibd").write_bytes(b"")
    assert decompress(DecompressRequest(directory=str(home)), silent) == 1
    assert (home / "d/t.ibd").read_bytes() == b"rows" * 100000
    (home / "d/t.ibd").write_bytes(b"prepared meanwhile")
    with pytest.raises(TargetRefused):
        decompress(DecompressRequest(directory=str(home), remove_original=True), silent)
    assert names(home) == {"d/t.ibd.zst", "d/t.ibd"}
    (home / "d/t.ibd").unlink()
    decompress(DecompressRequest(directory=str(home), remove_original=True), silent)
    assert names(home) == {"d/t.ibd"}


_ODD_NAME = "m'; touch $(echo b);\n#"


@pytest.fixture
def no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("catch", "ignore"):
        monkeypatch.setattr(signals, name, lambda: None)


@pytest.mark.usefixtures("no_signals")
def test_a_file_with_any_name_is_decompressed_and_the_others_with_it(tmp_path: Path) -> None:
    home = tmp_path / "b"
    (home / "d").mkdir(parents=True)
    for name in (_ODD_NAME, "d/t.ibd"):
        (home / f"{name}.zst").write_bytes(Zstd().encode(b"rows"))
    run("/usr/bin/xtrabackup", ["--no-defaults", "--decompress", "--remove-original", f"--target-dir={home}"], {})
    assert names(home) == {_ODD_NAME, "d/t.ibd"}
    assert {(home / name).read_bytes() for name in names(home)} == {b"rows"}


@pytest.mark.usefixtures("no_signals")
def test_mariadb_backup_unwraps_nothing_beside_a_name_that_is_not_safe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a;b", "t.ibd"):
        (tmp_path / f"{name}.zst").write_bytes(Zstd().encode(b"x"))
    assert run("/usr/bin/mariadb-backup", ["--no-defaults", "--decompress", f"--target-dir={tmp_path}"], {}) == 1
    assert "Error: invalid file name" in capsys.readouterr().err
    assert names(tmp_path) == {"a;b.zst", "t.ibd.zst"}


def test_a_mysql_backup_of_xtrabackup_is_refused_with_what_to_do(tmp_path: Path) -> None:
    home = backup(tmp_path, xtrabackup_info="server_version = 8.0.35\n")
    with pytest.raises(Unsupported) as refusal:
        read_peer_dir(str(home))
    assert "XtraBackup" in refusal.value.hint


def test_a_backup_of_ours_that_was_cut_short_is_not_taken_for_anothers(tmp_path: Path) -> None:
    home = backup(tmp_path, xtrabackup_info="server_version = 8.0.45\ntool_version = goldcopy 0.1.0\n")
    with pytest.raises(BackupInvalid, match="not whole"):
        read_peer_dir(str(home))


def test_a_server_of_before_the_program_is_refused(tmp_path: Path) -> None:
    home = backup(tmp_path, xtrabackup_info="server_version = 5.5.68-MariaDB\n")
    with pytest.raises(ServerRefused, match="5.5.68"):
        read_peer_dir(str(home))


def test_a_page_size_that_is_no_number_of_bytes_is_refused(tmp_path: Path) -> None:
    home = backup(tmp_path, xtrabackup_info="server_version = 10.11.2-MariaDB\n")
    (home / "backup-my.cnf").write_text("[mysqld]\ninnodb_page_size=16K\n")
    with pytest.raises(BackupInvalid, match="16K") as refusal:
        read_increment(read_peer_dir(str(home)), partial=False)
    assert refusal.value.hint


def test_statistics_pass_over_what_is_no_tablespace_of_mysql(tmp_path: Path) -> None:
    page0 = bytes(34) + (5).to_bytes(4, "big") + bytes(16384 - 38)
    (tmp_path / "d").mkdir()
    for name, content in (("t", page0 + bytes(16384)), ("cut", page0[:40]), ("other", b"\xff" * 16384)):
        (tmp_path / f"d/{name}.ibd").write_bytes(content)
    _, cut, other, t, total = stats(str(tmp_path))
    assert "not one of MySQL's" in cut and "not one of MySQL's" in other
    assert "space id: 5, page size: 16384, pages: 2" in t
    assert total.startswith("tablespaces: 1, pages: 2")


def test_nothing_is_exported_before_the_last_pass(tmp_path: Path) -> None:
    """It would start a server on what is not recovered."""
    home = backup(tmp_path, xtrabackup_info="server_version = 10.11.2-MariaDB\n")
    before = names(home)
    with pytest.raises(UsageError, match="mutually exclusive"):
        prepare(PrepareRequest(target_dir=str(home), export=True, apply_log_only=True), silent)
    assert names(home) == before


def test_settings_are_those_of_the_servers_group() -> None:
    text = '# c\n[client]\nuser=x\n[mysqld]\ninnodb-page-size=4096\nplugin_dir="/p q"\nskip_x\n\n[other]\na=1\n'
    assert parse_settings(text) == (("innodb_page_size", "4096"), ("plugin_dir", "/p q"), ("skip_x", "1"))
