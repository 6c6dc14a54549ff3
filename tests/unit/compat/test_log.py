"""Scripts search the log: a success must end with `completed OK!`, and nothing else may."""

import io
from datetime import UTC, datetime, timedelta, timezone

import pytest

from goldcopy.compat.log import Log, Severity, Shape, line_of
from goldcopy.errors import BackupInvalid
from goldcopy.events import Done, Locked, Note, Phase, Progress, Warn

MOMENT = datetime(2024, 10, 7, 16, 8, 59, 129407, tzinfo=timezone(timedelta(hours=2)))


def logged(shape=Shape.STRUCTURED, verbose=False):
    out = io.StringIO()
    return Log(out, shape, verbose=verbose, clock=lambda: MOMENT), out


@pytest.mark.parametrize(
    ("shape", "severity", "line"),
    [
        (
            Shape.STRUCTURED,
            Severity.NOTE,
            "2024-10-07T14:08:59.129407-00:00 0 [Note] [MY-011825] [Xtrabackup] hello",
        ),
        (
            Shape.STRUCTURED,
            Severity.ERROR,
            "2024-10-07T14:08:59.129407-00:00 0 [ERROR] [MY-011825] [Xtrabackup] hello",
        ),
        (Shape.OLD, Severity.NOTE, "241007 14:08:59 hello"),
        (Shape.INNOBACKUPEX, Severity.NOTE, "241007 14:08:59 innobackupex: hello"),
        (Shape.MARIADB, Severity.NOTE, "[00] 2024-10-07 14:08:59 hello"),
        (Shape.MARIADB, Severity.ERROR, "[00] FATAL ERROR: 2024-10-07 14:08:59 hello"),
        (Shape.MARIADB, Severity.WARNING, "[00] 2024-10-07 14:08:59 Warning: hello"),
    ],
)
def test_each_generations_line(shape, severity, line):
    assert line_of(shape, severity, "hello", MOMENT) == line


@pytest.mark.parametrize("shape", list(Shape))
def test_success_ends_with_completed_ok_and_nothing_after_it(shape):
    log, out = logged(shape)
    log.note("copying")
    log.completed()
    log.note("too late")
    log.completed()
    lines = out.getvalue().splitlines()
    assert lines[-1].endswith(" completed OK!")
    assert len(lines) == 2
    assert "innobackupex: completed" not in lines[-1]


def test_a_failure_never_ends_with_completed_ok():
    log, out = logged()
    log.error(BackupInvalid("no backup", hint="take one"))
    log.completed()
    assert "completed OK!" not in out.getvalue()
    assert "no backup" in out.getvalue()
    assert out.getvalue().splitlines()[-1].endswith("Hint: take one")


def test_no_message_can_pass_for_the_success_line():
    log, out = logged(Shape.OLD)
    log.note("table `completed OK!` copied")
    log.warning("completed OK!")
    log.error("x\ncompleted OK!")
    assert "completed OK!" not in out.getvalue()


def test_events_become_lines_and_progress_does_not():
    log, out = logged()
    for event in (Phase("copy", "copying"), Note("fine"), Note("detail", detail=True), Progress("copy", 1, 2)):
        log.emit(event)
    log.emit(Warn("x", "beware"))
    log.emit(Locked("BACKUP STAGE", 1.5))
    log.emit(Done("done", (("binlog", "b.1 4"),)))
    said = [line.partition("[Xtrabackup] ")[2] for line in out.getvalue().splitlines()]
    assert said == ["copying", "fine", "beware", "BACKUP STAGE was held for 1.500 seconds", "done", "binlog: b.1 4"]
    assert "[Warning]" in out.getvalue()


def test_details_are_for_the_verbose():
    log, out = logged(verbose=True)
    log.emit(Note("detail", detail=True))
    assert "detail" in out.getvalue()


def test_the_clock_is_utc_by_default():
    out = io.StringIO()
    Log(out, Shape.STRUCTURED).note("x")
    stamp = datetime.fromisoformat(out.getvalue().split(" ")[0])
    assert abs(stamp - datetime.now(UTC)) < timedelta(minutes=1)
