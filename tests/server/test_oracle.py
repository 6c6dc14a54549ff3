"""If the oracle cannot fail, no green test means anything: each kind of loss must be found, and named."""

from __future__ import annotations

import dataclasses
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import schema
from lab.load import Load
from lab.oracle import Lost, Point, State, check_bank, check_restored, snapshot
from lab.server import LabServer, copy_tree

from .conftest import MakeServer


@dataclasses.dataclass
class Case:
    """A source that went on after a copy of it was taken, and the copy, running."""

    source: LabServer
    copy: LabServer
    point: Point
    want: State

    def judge(self, point: Point | None = None) -> int:
        return check_restored(self.want, self.copy, point or self.point, self.source.binlogs(), source=self.source)


def transfer(server: LabServer, amount: int) -> None:
    """One transfer by hand: a transaction that cannot be applied twice or left out unseen."""
    server.sql(
        "BEGIN", f"UPDATE bank.account SET balance = balance - {amount} WHERE id = 1",
        f"UPDATE bank.account SET balance = balance + {amount} WHERE id = 2",
        f"INSERT INTO bank.transfer (source, target, amount) VALUES (1, 2, {amount})", "COMMIT",
    )


@pytest.fixture(params=["mariadb-11.8", "mysql-9.7"])
def case(request: pytest.FixtureRequest, make_server: MakeServer, lab_dir: Path) -> Case:
    source = make_server(request.param)
    schema.setup(source)
    with Load(source, seed=11) as load:
        _until(load, 3)
    transfer(source, 5)
    source.stop()
    copy = LabServer(request.param, lab_dir / "copy")
    copy.datadir.mkdir()
    copy_tree(source.datadir, copy.datadir)
    (copy.datadir / "auto.cnf").unlink(missing_ok=True)
    source.start()
    transfer(source, 7)
    with Load(source, seed=12, writers=("bank", "rows", "misc")) as load:
        _until(load, 3)
    first = source.binlogs()[-1].name
    copy.start()
    return Case(source, copy, Point(first, 4), snapshot(source))


def _until(load: Load, seconds: float) -> None:
    time.sleep(seconds)
    load.check()


def lose_a_row(server: LabServer) -> None:
    server.sql("SET sql_log_bin = 0", "DELETE FROM misc.subbed WHERE id = 3")


def flip_a_value(server: LabServer) -> None:
    server.sql("SET sql_log_bin = 0", "UPDATE misc.audit SET what = CONCAT('X', what) WHERE id = 2")


def lose_a_table(server: LabServer) -> None:
    server.sql("SET sql_log_bin = 0", "DROP TABLE misc.generated")


def empty_a_table(server: LabServer) -> None:
    # what a peer does to a table that was imported between a full backup and its increment
    server.sql("SET sql_log_bin = 0", "TRUNCATE TABLE ddl.parted")


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


LOSSES: list[tuple[Callable[[LabServer], None], str]] = [
    (lose_a_row, r"misc\.subbed.*lost"),
    (flip_a_value, r"misc\.audit.*rows lost"),
    (lose_a_table, r"misc\.generated"),
    (empty_a_table, r"ddl\.parted"),
    (lose_a_view, r"view misc\.seen: lost"),
    (lose_a_trigger, r"trigger misc\.word_in: lost"),
    (lose_a_grant, r"user teller@localhost"),
    (lose_an_event, r"event misc\.tick: lost"),
    (lose_an_empty_database, r"database .*nothing: lost"),
    (make_money, r"money was made"),
    (forge_the_ledger, r"ledger"),
]


def test_a_faithful_copy_passes_and_every_loss_is_found(case: Case) -> None:
    # one pair of servers for all losses: each is done to a fresh copy, because a replay changes it
    pristine = case.copy.base / "pristine"
    case.copy.stop()
    pristine.mkdir()
    copy_tree(case.copy.datadir, pristine)
    assert _fresh(case, pristine).judge() > 0
    for lose, pattern in LOSSES:
        fresh = _fresh(case, pristine)
        lose(fresh.copy)
        with pytest.raises(Lost) as caught:
            fresh.judge()
        assert re.search(pattern, str(caught.value), re.S), (lose.__name__, str(caught.value))


def _fresh(case: Case, pristine: Path) -> Case:
    case.copy.stop()
    shutil.rmtree(case.copy.datadir)
    case.copy.datadir.mkdir()
    copy_tree(pristine, case.copy.datadir)
    case.copy.log.unlink()
    case.copy.start()
    return case


def _transaction_starts(server: LabServer, file: str) -> list[int]:
    rows = server.sql(f"SHOW BINLOG EVENTS IN '{file}'")
    return [int(r[1]) for r in rows if str(r[2]) in ("Gtid", "Anonymous_Gtid")]


def test_a_position_one_transaction_too_late_is_found(case: Case) -> None:
    file = case.source.binlogs()[-1].name
    starts = _transaction_starts(case.source, file)
    with pytest.raises(Lost):
        case.judge(Point(file, starts[1]))


def test_a_position_one_transaction_too_early_is_found(case: Case) -> None:
    before = case.source.binlogs()[-2].name
    with pytest.raises(Lost, match="does not fit"):
        case.judge(Point(before, _transaction_starts(case.source, before)[-1]))


def test_a_bank_without_its_last_transfer_is_still_balanced(case: Case) -> None:
    assert check_bank(case.copy) > 0
