"""The follower's window is whole, also where nothing at all happens on the server."""

from __future__ import annotations

from goldcopy.capture.follower import Follower
from goldcopy.formats import Lsn


class StandingLog:
    """A log in blocks whose server is idle. The byte of LSN n is n % 251."""

    block, guard, capacity = 512, 0, 1 << 20

    def read(self, start: Lsn, end: Lsn) -> bytes:
        upto = -(-end // self.block) * self.block
        return bytes(n % 251 for n in range(start, upto))


class Out(bytearray):
    """Collects."""

    def write(self, data: bytes) -> None:
        self.extend(data)


def window(checkpoint: int, end: int) -> bytes:
    out = Out()
    follower = Follower(
        StandingLog(), out, lambda: (Lsn(end), Lsn(end)), capacity_bytes=1 << 20, setting="log_size"  # type: ignore[arg-type]
    )
    follower.start(Lsn(checkpoint))
    follower.finish(Lsn(end))
    return bytes(out)


def test_an_idle_server_s_window_holds_the_block_of_its_checkpoint():
    assert window(5000, 5000) == StandingLog().read(Lsn(4608), Lsn(5120))


def test_the_window_begins_with_the_checkpoint_s_block_and_ends_with_the_end_s():
    assert window(5000, 7777) == StandingLog().read(Lsn(4608), Lsn(7777))
