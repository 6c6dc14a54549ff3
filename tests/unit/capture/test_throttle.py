"""A throttle that lets too much through starves the server; one that lets too little through never ends."""

from __future__ import annotations

from goldcopy.capture.throttle import BURST_S, REQUEST_BYTES, Throttle


class FakeClock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_reads_are_spread_at_the_rate():
    clock = FakeClock()
    throttle = Throttle(bytes_per_s=1000, clock=clock)
    waits = [throttle.reserve(100) for _ in range(5)]
    assert [round(w, 6) for w in waits] == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_requests_are_bounded_as_well_as_bytes():
    clock = FakeClock()
    throttle = Throttle(bytes_per_s=1_000_000, iops=10, clock=clock)
    throttle.reserve(10)
    assert round(throttle.reserve(10), 6) == 0.1


def test_idle_time_is_not_saved_up_for_a_flood():
    clock = FakeClock()
    throttle = Throttle(bytes_per_s=1000, clock=clock)
    throttle.reserve(1000)
    clock.now += 3600
    waits = [throttle.reserve(100) for _ in range(3)]
    assert waits[2] >= 2 * 0.1 - BURST_S - 1e-9


def test_without_a_bound_nothing_waits():
    throttle = Throttle()
    assert [throttle.reserve(1 << 40) for _ in range(3)] == [0.0, 0.0, 0.0]


def test_a_long_read_counts_as_the_requests_it_is_made_of():
    clock = FakeClock()
    throttle = Throttle(iops=10, clock=clock)
    throttle.reserve(4 * REQUEST_BYTES)
    assert round(throttle.reserve(1), 6) == 0.4
