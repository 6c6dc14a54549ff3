"""If the oracle cannot fail, no green test means anything: each kind of loss must be found, and named."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import schema
from lab.load import Load
from lab.oracle import Lost, Point, State, check_bank, check_restored, snapshot
from lab.server import LabServer, copy_tree, scratch

from .conftest import need


@dataclasses.dataclass
class Case:
    """A source that went on after a copy of it was taken, and that copy, which each test breaks afresh."""

    source: LabServer
    copy: LabServer
    pristine: Path
    point: Point
    want: State

    def fresh(self) -> LabServer:
        self.copy.stop()
        shutil.rmtree(self.copy.datadir, ignore_errors=True)
        self.copy.datadir.mkdir()
        copy_tree(self.pristine, self.copy.datadir)
        self.copy.log.unlink(missing_ok=True)
        return self.copy.start()

    def judge(self, point: Point | None = None) -> int:
        return check_restored(self.want, self.copy, point or self.point, self.source.binlogs(), source=self.source)


def transfer(server: LabServer, amount: int) -> None:
    """One transfer by hand: a transaction that cannot be applied twice or left out unseen."""
    server.sql(
        "BEGIN", f"UPDATE bank.account SET balance = balance - {amount} WHERE id = 1",
        f"UPDATE bank.account SET balance = balance + {amount} WHERE id = 2",
        f"INSERT INTO bank.transfer (source, target, amount) VALUES (1, 2, {amount})", "COMMIT",
    )


@pytest.fixture(scope="module", params=["mariadb-11.8", "mysql-9.7"])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    need(request.param)
    folder = scratch()
    with LabServer(request.param, folder / "source").create() as source, LabServer(request.param, folder / "copy") as copy:
        yield _grown(source.start(), copy, folder / "pristine")
    shutil.rmtree(folder, ignore_errors=True)


def _grown(source: LabServer, copy: LabServer, pristine: Path) -> Case:
    schema.setup(source)
    with Load(source, seed=11) as load:
        load.go_on(2)
    for name in ("hashed", "subbed", "generated"):
        source.sql(f"CREATE TABLE misc.{name}2 LIKE misc.{name}")
    source.sql("INSERT INTO misc.hashed2 (y, v) VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    transfer(source, 5)
    source.stop()
    pristine.mkdir()
    copy_tree(source.datadir, pristine)
    (pristine / "auto.cnf").unlink(missing_ok=True)
    source.start()
    transfer(source, 7)
    with Load(source, seed=12, writers=("bank", "rows", "misc")) as load:
        load.go_on(2)
    return Case(source, copy, pristine, Point(source.binlogs()[-1].name, 4), snapshot(source))


def lose_a_row(server: LabServer) -> None:
    server.sql("SET sql_log_bin = 0", "DELETE FROM misc.subbed WHERE id = 3")


def flip_a_value(server: LabServer) -> None:
    server.sql("SET sql_log_bin = 0", "UPDATE misc.audit SET what = CONCAT('X', what) WHERE id = 2")


def lose_a_table(server: LabServer) -> None:
    server.sql("SET sql_log_bin = 0", "DROP TABLE misc.generated2")


def empty_a_table(server: LabServer) -> None:
    # what a peer does to a table that was imported between a full backup and its increment
    server.sql("SET sql_log_bin = 0", "TRUNCATE TABLE misc.hashed2")


def lose_a_view(server: LabServer) -> None:
    server.sql("SET sql_log_bin = 0", "DROP VIEW misc.seen")


def lose_a_trigger(server: LabServer) -> None:
    server.sql("SET sql_log_bin = 0", "DROP TRIGGER misc.word_in")


def lose_a_grant(server: LabServer) -> None:
    server.sql("SET sql_log_bin = 0", "REVOKE INSERT ON bank.* FROM 'teller'@'localhost'")


def lose_an_event(server: LabServer) -> None:
    server.sql("SET sql_log_bin = 0", "DROP EVENT misc.tick")


def lose_an_empty_database(server: LabServer) -> None:
    server.sql("SET sql_log_bin = 0", f"DROP DATABASE {schema.quote(schema.EMPTY_DATABASE)}")


def make_money(server: LabServer) -> None:
    server.sql("SET sql_log_bin = 0", "UPDATE bank.account SET balance = balance + 1 WHERE id = 9")


def forge_the_ledger(server: LabServer) -> None:
    server.sql("SET sql_log_bin = 0", "UPDATE bank.transfer SET amount = amount + 1 ORDER BY id LIMIT 1")


QUIET: list[tuple[Callable[[LabServer], None], str]] = [
    (lose_a_row, r"misc\.subbed: .*1 rows lost"),
    (flip_a_value, r"misc\.audit: .*1 rows lost.*1 rows too much"),
    (lose_a_table, r"misc\.generated2: lost"),
    (empty_a_table, r"misc\.hashed2: 3 rows became 0"),
    (lose_a_view, r"view misc\.seen: lost"),
    (lose_a_trigger, r"trigger misc\.word_in: lost"),
    (lose_a_grant, r"user teller@localhost"),
    (lose_an_event, r"event misc\.tick: lost"),
    (lose_an_empty_database, r"database .*nothing: lost"),
]


def test_a_faithful_copy_passes(case: Case) -> None:
    case.fresh()
    assert case.judge() > 0


def test_every_quiet_loss_is_found_and_named(case: Case) -> None:
    copy = case.fresh()
    for lose, _ in QUIET:
        lose(copy)
    with pytest.raises(Lost) as caught:
        case.judge()
    for lose, pattern in QUIET:
        assert re.search(pattern, str(caught.value)), (lose.__name__, str(caught.value))


@pytest.mark.parametrize(("forge", "pattern"), [(make_money, "money was made"), (forge_the_ledger, "ledger")])
def test_forged_books_are_found(case: Case, forge: Callable[[LabServer], None], pattern: str) -> None:
    forge(case.fresh())
    with pytest.raises(Lost, match=pattern):
        check_bank(case.copy)


def _transaction_starts(server: LabServer, file: str) -> list[int]:
    rows = server.sql(f"SHOW BINLOG EVENTS IN '{file}'")
    return [int(r[1]) for r in rows if str(r[2]) in ("Gtid", "Anonymous_Gtid")]


def test_a_position_one_transaction_too_late_is_found(case: Case) -> None:
    case.fresh()
    file = case.point.binlog_file
    with pytest.raises(Lost):
        case.judge(Point(file, _transaction_starts(case.source, file)[1]))


def test_a_position_one_transaction_too_early_is_found(case: Case) -> None:
    case.fresh()
    before = case.source.binlogs()[-2].name
    with pytest.raises(Lost, match="does not fit"):
        case.judge(Point(before, _transaction_starts(case.source, before)[-1]))


def test_damage_inside_a_table_is_found(case: Case) -> None:
    # a page that CHECK TABLE objects to, in a table that no row of the replay touches
    copy = case.fresh()
    copy.stop()
    with (copy.datadir / "misc" / "mine2.MYD").open("r+b") as f:
        f.truncate(7)
    copy.start()
    with pytest.raises(Lost, match="CHECK TABLE"):
        case.judge()
