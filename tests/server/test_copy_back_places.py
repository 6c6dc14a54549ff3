"""``--copy-back`` brings everything to where the option file of the restored server says that it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.fronts import back_up, name_for, ours, prepare
from lab.server import LabServer

from .conftest import need

PLACES = ("innodb-data-home-dir", "innodb-log-group-home-dir", "innodb-undo-directory")


def settings(folder: Path, *more: str) -> list[str]:
    """Options for a server with a directory for each kind of file, which are made here."""
    for name in PLACES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    return [*(f"--{name}={folder / name}" for name in PLACES), "--innodb-data-file-path=ibdata1:12M;system/two:12M:autoextend", *more]


@pytest.mark.parametrize(
    ("server_name", "how"),
    [("mysql-8.0", "--copy-back"), ("mariadb-10.11", "--move-back"), ("mysql-9.7", "--move-back")],
)
def test_system_undo_redo_and_remote_files_go_where_the_option_file_says(
    server_name: str, how: str, lab_dir: Path
) -> None:
    """Two system files, undo, redo, a table and a general tablespace outside; four threads."""
    need(server_name)
    mysql = server_name.startswith("mysql")
    outside, old, new = lab_dir / "outside", lab_dir / "old", lab_dir / "new"
    outside.mkdir()
    more = [f"--innodb-directories={outside}"] if mysql else ["--aria-log-dir-path=" + str(old / "aria")]
    for folder in (old, new):
        (folder / "innodb-data-home-dir" / "system").mkdir(parents=True)
        (folder / "aria").mkdir()
    source = LabServer(server_name, lab_dir / "source", init=settings(old, *more)).create(cached=False).start()
    source.sql(
        "CREATE DATABASE d", f"CREATE TABLE d.remote (id INT PRIMARY KEY) ENGINE=InnoDB DATA DIRECTORY='{outside}'",
        "INSERT INTO d.remote VALUES (1)", "CREATE TABLE d.t (id INT PRIMARY KEY) ENGINE=InnoDB", "CREATE DATABASE vacant",
    )  # fmt: skip
    if mysql:
        source.sql(
            f"CREATE TABLESPACE shared ADD DATAFILE '{outside}/shared.ibd'",
            "CREATE TABLE d.s (id INT PRIMARY KEY) TABLESPACE shared", "INSERT INTO d.s VALUES (1)",
            "CREATE UNDO TABLESPACE more ADD DATAFILE 'more.ibu'",
        )  # fmt: skip
    source.sql("INSERT INTO d.t VALUES (1)")
    backup = lab_dir / "backup"
    back_up(source, backup)
    source.stop()
    prepare(source, backup)
    outside.rename(lab_dir / "aside")
    outside.mkdir()
    here = [word.replace(str(old), str(new)) for word in source.init]
    copy = LabServer(server_name, lab_dir / "copy", init=here)
    cnf = lab_dir / "my.cnf"
    cnf.write_text("\n".join(["[mysqld]", f"datadir={copy.datadir}", *(w.removeprefix("--") for w in here)]) + "\n")

    ours(name_for(copy), f"--defaults-file={cnf}", how, f"--target-dir={backup}", "--parallel=4")

    assert (new / "innodb-data-home-dir/system/two").exists()
    assert not any(copy.datadir.glob("*undo*")), "undo tablespaces have a place of their own"
    assert (outside / "d/remote.ibd").exists()
    copy.start()
    for table in ("d.t", "d.remote", *(["d.s"] if mysql else [])):
        assert copy.sql(f"SELECT id FROM {table}") == [(1,)]
    copy.sql("INSERT INTO d.remote VALUES (2)", "CREATE TABLE vacant.e (id INT)")
    if how == "--move-back":
        left = {str(p.relative_to(backup)) for p in backup.rglob("*") if p.is_file()}
        assert not [name for name in left if "/" in name or name.endswith((".ibd", ".ibu"))], left
