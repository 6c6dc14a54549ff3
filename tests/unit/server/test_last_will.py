"""What is to be done after a death must reach the one that is to do it, whoever the user is."""

import msgspec
import pytest

from goldcopy.server import last_will
from goldcopy.server.last_will import LastWill
from goldcopy.server.session import Account

ACCOUNT = Account(socket="/s", host="", port=0, user="u", password="", ssl_ca="", connect_timeout_s=1.0)


@pytest.mark.parametrize("password", ["", "line\nend", "täglich", "latin-1 \udce9 of an option file"])
def test_any_password_goes_through_the_pipe(password):
    will = last_will._Will(msgspec.structs.replace(ACCOUNT, password=password), ("START REPLICA SQL_THREAD",))
    line = will.line()
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert last_will._Will.of(line) == will


def test_the_second_process_ends_when_its_will_is_revoked():
    with LastWill(msgspec.structs.replace(ACCOUNT, password="\udce9"), ("START REPLICA SQL_THREAD",)) as will:
        child = will._child
        assert child is not None and child.poll() is None
    assert child.returncode == 0
