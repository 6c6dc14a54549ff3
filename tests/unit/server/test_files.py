"""A file left out is a table lost; a file too many is another server's identity, or a key, in the backup."""

import os
import socket
import tracemalloc

import pytest

from goldcopy.errors import ServerRefused
from goldcopy.server import fileid
from goldcopy.server.file_rules import layout
from goldcopy.server.files import FileList, FileRef, scan


class Tree:
    """A made-up data directory, and what a server would say about it."""

    def __init__(self, root):
        self.root, self.datadir = root, root / "data"
        self.datadir.mkdir()
        self.variables = {"innodb_undo_directory": "./", "innodb_temp_data_file_path": "ibtmp1:12M:autoextend"}
        self.system_files = (str(self.datadir / "ibdata1"),)
        self.keys = frozenset()

    def add(self, *names, base=None):
        for name in names:
            path = (base or self.datadir) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        return self

    def scan(self, remote=()):
        return scan(layout(self.variables, str(self.datadir), self.system_files, self.keys), remote)


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def paths(files):
    return sorted(f.path for f in files)


def test_every_kind_of_tablespace_is_found(tree):
    tree.add("ibdata1", "undo001", "undo_002", "own.ibu", "mysql.ibd", "db/t.ibd", "db/p#P#a.ibd", "general.ibd")
    found = tree.scan()
    assert paths(found.spaces) == sorted(
        ["ibdata1", "undo001", "undo_002", "own.ibu", "mysql.ibd", "db/t.ibd", "db/p#P#a.ibd", "general.ibd"]
    )
    assert not found.plain and not found.unknown


def test_a_name_that_no_manifest_could_keep_is_refused_with_its_bytes(tree):
    tree.add("ibdata1", "db/caf\udce9.txt")
    with pytest.raises(ServerRefused, match=r"caf\\xe9") as refused:
        tree.scan()
    assert refused.value.hint
    (tree.datadir / "db/caf\udce9.txt").rename(tree.datadir / "db/café.txt")
    assert paths(tree.scan().unknown) == ["db/café.txt"]


def test_files_of_other_engines_are_plain(tree):
    names = ["db/t.MYD", "db/t.MYI", "db/t.frm", "db/a.MAD", "db/c.CSV", "db/z.ARZ", "db/m.MRG", "db/db.opt",
             "db/t.sdi", "db/t.par", "db/t.TRG", "aria_log_control", "aria_log.00000001", "ib_buffer_pool"]  # fmt: skip
    found = tree.add(*names).scan()
    assert paths(found.plain) == sorted(names)
    assert not found.unknown
    assert found.has_user_tables_outside_innodb


def test_what_has_its_home_outside_now_is_in_the_backup_once(tree):
    elsewhere = tree.root / "elsewhere"
    tree.variables |= {"aria_log_dir_path": str(elsewhere), "innodb_data_home_dir": str(elsewhere)}
    names = ["aria_log_control", "aria_log.00000001", "ib_buffer_pool"]
    found = tree.add(*names).add(*names, base=elsewhere).scan()
    assert paths(found.plain) == sorted(names)
    assert {os.path.dirname(f.source) for f in found.plain} == {str(elsewhere)}


def test_what_is_the_servers_own_business_is_left_out(tree, monkeypatch):
    tree.variables |= {
        "log_bin_basename": str(tree.datadir / "binlog"), "relay_log_basename": str(tree.datadir / "host-relay"),
        "relay_log_index": "host-relay.index", "pid_file": str(tree.datadir / "host"), "log_error": "./said.txt",
        "general_log_file": "queries", "slow_query_log_file": "slow",
    }  # fmt: skip
    tree.add(
        "ib_logfile0", "ib_logfile101", "#innodb_redo/#ib_redo1", "#innodb_temp/temp_1.ibt", "ibtmp1",
        "#ib_16384_0.dblwr", "#ib_16384_1.bdblwr", "auto.cnf", "ca.pem", "mysqld.pid", "h.err", "host", "said.txt",
        "queries", "slow", "binlog.000001", "binlog.000001.idx", "binlog.index", "binlog.state", "host-relay.000003",
        "host-relay-east.000001", "host-relay-east.index", "host-relay.index", "ddl.log", "ddl_recovery.log", "tc.log",
        "gvwstate.dat", "grastate.dat", "galera.cache", "multi-master.info", "master.info", "relay-log.info",
        "relay-log-east.info", "master-east.info", "lost+found/x", "#binlog_cache_files/y",
    )  # fmt: skip
    with socket.socket(socket.AF_UNIX) as s:
        monkeypatch.chdir(tree.datadir)  # a socket's path must be short
        s.bind("server.socket")
    found = tree.scan()
    assert (len(found.spaces), len(found.plain), found.empty_dirs) == (0, 0, ())


def test_a_table_may_be_called_like_a_file_of_the_servers(tree):
    names = ["db/ib_logfile0.ibd", "db/binlog.ibd", "db/auto.MYD", "db/undo001.ibd", "db/ibtmp1.frm", "db/x.pem.frm"]
    found = tree.add(*names).scan()
    assert paths([*found.spaces, *found.plain]) == sorted(names)


def test_a_binlog_named_like_a_table_file_hides_no_table(tree):
    tree.variables["log_bin_basename"] = str(tree.datadir / "db")
    found = tree.add("db/t.ibd", "db.000001", "db.index").scan()
    assert paths([*found.spaces, *found.plain]) == ["db/t.ibd"]


def test_a_binlog_without_a_number_is_no_unknown_file(tree):
    tree.variables["log_bin_basename"] = str(tree.datadir / "my")
    assert not tree.add("my.log", "my.index").scan().unknown


def test_names_of_one_file_are_told(tree):
    tree.add("db/t.ibd", "db/u.ibd", "db/v.ibd")
    os.link(tree.datadir / "db/t.ibd", tree.datadir / "db/a.ibd")
    os.link(tree.datadir / "db/v.ibd", tree.root / "outside")
    os.symlink(tree.datadir / "db/u.ibd", tree.datadir / "db/z.ibd")
    found = tree.scan()
    assert sorted(paths(names) for names in found.same_files) == [["db/a.ibd", "db/t.ibd"], ["db/u.ibd", "db/z.ibd"]]
    assert len(found.spaces) == 5


def test_unknown_files_are_copied_and_named(tree):
    found = tree.add("db/t.frm", "db/t.tokudb", "notes.txt").scan()
    assert paths(found.unknown) == ["db/t.tokudb", "notes.txt"]
    assert paths(found.plain) == ["db/t.frm", "db/t.tokudb", "notes.txt"]
    assert found.has_user_tables_outside_innodb


def test_system_databases_need_no_heavier_lock(tree):
    found = tree.add("mysql/general_log.CSV", "mysql/user.MYD", "performance_schema/x.sdi", "app/t.ibd").scan()
    assert not found.has_user_tables_outside_innodb


def test_key_files_never_get_into_a_backup(tree):
    tree.add("keyring", "db/t.ibd", "keys/file.txt")
    tree.keys = frozenset({str(tree.datadir / "keyring"), str(tree.datadir / "keys" / "file.txt")})
    found = tree.scan()
    assert paths([*found.plain, *found.spaces]) == ["db/t.ibd"]


def test_a_keyring_under_its_usual_name_stays_out_even_when_the_server_does_not_tell(tree):
    tree.add("component_keyring_file", "keyring", "keyring.backup", "component_keyring_file.cnf", "mysqld.my",
             "component_keyring_encrypted_file.cnf", "component_keyring_hashicorp.cnf")  # fmt: skip
    assert paths(tree.scan().plain) == ["component_keyring_file.cnf", "mysqld.my"]


def test_empty_databases_are_kept(tree):
    tree.add("db/t.ibd")
    (tree.datadir / "empty").mkdir()
    assert tree.scan().empty_dirs == ("empty",)


def test_the_system_tablespace_may_have_several_files_in_several_places(tree):
    ssd = tree.root / "ssd"
    tree.add("ibdata1").add("ibdata2", base=ssd)
    tree.system_files = (str(tree.datadir / "ibdata1"), str(ssd / "ibdata2"))
    found = tree.scan()
    assert {(f.path, f.external) for f in found.spaces} == {("ibdata1", ""), ("ibdata2", str(ssd / "ibdata2"))}


def test_undo_in_a_directory_of_its_own(tree):
    undo = tree.root / "undo"
    tree.add("ibdata1").add("undo001", "undo_002", "mine.ibu", "notes", base=undo)
    tree.variables["innodb_undo_directory"] = str(undo)
    assert {f.external for f in tree.scan().spaces} == {
        "", str(undo / "undo001"), str(undo / "undo_002"), str(undo / "mine.ibu")
    }  # fmt: skip


def test_system_and_undo_files_may_share_a_directory_outside(tree):
    far = tree.root / "far"
    tree.add("ibdata1", "undo001", base=far)
    tree.variables["innodb_undo_directory"] = str(far)
    tree.system_files = (str(far / "ibdata1"),)
    assert paths(tree.scan().spaces) == ["ibdata1", "undo001"]


def test_arias_log_outside_comes_back_into_the_data_directory(tree):
    far = tree.root / "aria"
    tree.add("db/t.MAD").add("aria_log_control", "aria_log.00000001", "other", base=far)
    tree.variables["aria_log_dir_path"] = str(far)
    plain = tree.scan().plain
    assert paths(plain) == ["aria_log.00000001", "aria_log_control", "db/t.MAD"]
    assert not any(f.external for f in plain)


def test_undo_below_the_data_directory(tree):
    tree.variables["innodb_undo_directory"] = "./undo"
    assert paths(tree.add("undo/undo001").scan().spaces) == ["undo/undo001"]


def test_a_remote_table_comes_under_its_database(tree):
    far = tree.root / "far"
    tree.add("db/t.frm").add("db/t.ibd", base=far)
    (tree.datadir / "db" / "t.isl").write_text(f"{far}/db/t.ibd\n")
    found = tree.scan()
    [space] = found.spaces
    assert (space.path, space.source, space.external) == ("db/t.ibd", f"{far}/db/t.ibd", f"{far}/db/t.ibd")
    assert not found.dead_links
    assert "db/t.isl" in paths(found.plain)


@pytest.mark.parametrize("content", ["/nowhere/db/t.ibd", "", "db/t.ibd"])
def test_a_link_to_nothing_is_left_out_and_told(tree, content):
    tree.add("db/t.frm")
    (tree.datadir / "db" / "t.isl").write_text(content)
    found = tree.scan()
    assert found.dead_links == ("db/t.isl",)
    assert "db/t.isl" not in paths(found.plain)


def test_remote_files_that_only_the_server_knows(tree):
    a, b = tree.root / "a", tree.root / "b"
    tree.add("db/in.ibd").add("db/t.ibd", "ts.ibd", base=a).add("ts.ibd", base=b)
    remote = [str(a / "db/t.ibd"), str(a / "ts.ibd"), str(b / "ts.ibd"), str(tree.datadir / "db/in.ibd"), "/gone.ibd"]
    assert {f.path: f.external for f in tree.scan(remote).spaces} == {
        "db/in.ibd": "", "db/t.ibd": remote[0], "ts.ibd": remote[1], "ts~2.ibd": remote[2],
    }  # fmt: skip


def test_a_symlinked_database_is_followed(tree):
    far = tree.root / "far"
    tree.add("t.ibd", "t.frm", base=far)
    (tree.datadir / "db").symlink_to(far)
    found = tree.scan()
    assert paths([*found.spaces, *found.plain]) == ["db/t.frm", "db/t.ibd"]


def test_a_data_directory_reached_by_a_link_is_the_same_one(tree):
    tree.add("ibdata1", "said.txt", "secret", "undo/undo001", "db/t.ibd")
    link = tree.root / "link"
    link.symlink_to(tree.datadir)
    tree.variables |= {"log_error": str(tree.datadir / "said.txt"), "innodb_undo_directory": str(tree.datadir / "undo")}
    tree.keys = frozenset({str(tree.datadir / "secret")})
    rules = layout(tree.variables, str(link), (str(link / "ibdata1"),), tree.keys)
    found = scan(rules, [str(tree.datadir / "db/t.ibd")])
    assert paths(found.spaces) == ["db/t.ibd", "ibdata1", "undo/undo001"]
    assert not found.plain and not any(f.external for f in found.spaces)


def test_a_link_that_leads_in_a_circle_lists_nothing_twice(tree):
    tree.add("db/t.ibd")
    (tree.datadir / "db" / "again").symlink_to(tree.datadir / "db")
    (tree.datadir / "db" / "top").symlink_to(tree.datadir)
    assert paths(tree.scan().spaces) == ["db/t.ibd"]


def test_myrocks_is_recognised_and_not_listed(tree):
    tree.add("#rocksdb/000001.sst", "ibdata1")
    found = tree.scan()
    assert found.rocksdb_dir == str(tree.datadir / "#rocksdb")
    assert paths([*found.spaces, *found.plain]) == ["ibdata1"]


def test_a_temporary_directory_that_holds_the_data_directory_excludes_nothing(tree):
    tree.variables["tmpdir"] = str(tree.root)
    assert paths(tree.add("ibdata1").scan().spaces) == ["ibdata1"]


def test_a_file_of_the_same_name_made_anew_has_another_identity(tree):
    path = tree.datadir / "t.ibd"
    tree.add("t.ibd")
    before = fileid.identity(str(path))
    path.rename(tree.datadir / "u.ibd")
    assert fileid.identity(str(tree.datadir / "u.ibd")) == before
    os.unlink(tree.datadir / "u.ibd")
    tree.add("t.ibd")
    assert fileid.identity(str(path)) != before


def test_state_agrees_with_stat(tree):
    path = tree.add("f").datadir / "f"
    s, state = os.stat(path), fileid.state(str(path))
    assert (state.size, state.mode, state.mtime_ns, state.ctime_ns) == (
        s.st_size, s.st_mode, s.st_mtime_ns, s.st_ctime_ns
    )  # fmt: skip
    assert state.identity.startswith(f"{s.st_ino}.")
    with open(path, "rb") as f:
        assert fileid.state(f.fileno()) == state
    with pytest.raises(FileNotFoundError):
        fileid.state(str(path) + ".none")


def test_listing_stays_fast_with_many_tables(tree):
    import time

    for database in range(10):
        (tree.datadir / f"db{database}").mkdir()
        for table in range(500):
            (tree.datadir / f"db{database}" / f"t{table}.ibd").touch()
    started = time.process_time()
    assert len(tree.scan().spaces) == 5000
    # 100,000 tables in a few seconds; generous, for the machine is shared
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize("root", ["/d", "/srv/" + "long/" * 50])
def test_the_list_of_a_hundred_thousand_tables_is_small(root):
    """Two such lists of 100,000 .ibd and 100,000 .frm must leave room within 150 MB for the backup itself."""
    def ref(n: int) -> FileRef:
        return FileRef(f"db{n % 7}/table{n:06d}.ibd", root if n % 1000 else "", "", 65536, f"{10**6 + n}.1764000000.{n}", n, n, 0o660)

    count = 10_000
    tracemalloc.start()
    try:
        files = FileList()
        for n in range(count):
            files.append(ref(n))
        assert tracemalloc.get_traced_memory()[0] / count < 110
    finally:
        tracemalloc.stop()
    assert list(files) == [ref(n) for n in range(count)]
    assert [f.path for f in files.only(lambda path: path.endswith("0000.ibd"))] == ["db0/table000000.ibd"]
