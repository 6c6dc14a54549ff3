"""Threads work off a list of any length, and only what is next waits for them."""

from __future__ import annotations

import threading

import pytest

from goldcopy.restore.pooled import each


def test_results_come_in_order_and_few_things_are_taken_ahead():
    taken = 0

    def things():
        nonlocal taken
        while taken < 1000:
            taken += 1
            yield taken

    ahead = 0
    for done, result in enumerate(each(lambda n: n * n, things(), 3), 1):
        ahead = max(ahead, taken - done)
        assert result == done * done
    assert done == 1000
    assert ahead <= 12


def test_after_a_failure_nothing_more_is_begun():
    begun, hold = [], threading.Event()

    def work(n: int) -> None:
        begun.append(n)
        if n == 0:
            hold.set()
            raise ValueError("bad")
        hold.wait()

    with pytest.raises(ValueError, match="bad"):
        list(each(work, range(1000), 1))
    assert len(begun) <= 6
