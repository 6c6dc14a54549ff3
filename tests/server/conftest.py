"""What tests on real servers share: servers that end with their test, folders that go with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import catalogue, fetch
from lab.failures import processes_about
from lab.server import LabServer, kill_all, scratch

_NAMES = {server.name for server in catalogue.SERVERS}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Everything below this folder needs a server. Run in parallel, a file's tests on one server stay together."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.server)
            if config.pluginmanager.hasplugin("xdist"):
                item.add_marker(pytest.mark.xdist_group(f"{item.path.stem}-{_server_of(item)}"))


def _server_of(item: pytest.Item) -> str:
    values = item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
    return next((value for value in values if isinstance(value, str) and value in _NAMES), "any")


@contextmanager
def folder_of_its_own() -> Iterator[Path]:
    """A folder on a real file system, gone afterwards unless ``GOLDCOPY_KEEP`` is set."""
    folder = scratch()
    yield folder
    if not os.environ.get("GOLDCOPY_KEEP"):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def shared_server(name: str, *statements: str) -> Iterator[LabServer]:
    """A running server for all tests of a module, with what the statements make in it."""
    need(name)
    with folder_of_its_own() as folder:
        with LabServer(name, folder / "source").create().start() as server:
            server.sql(*statements)
            yield server
        kill_all()


@pytest.fixture
def lab_dir(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder for this test on a real file system; kept when ``GOLDCOPY_KEEP`` is set. Its servers are killed."""
    with folder_of_its_own() as folder:
        print(f"data of this test: {folder}")
        yield folder
        kill_all()


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for one test beside a shared server; its temporary files go into it, too: none may stay, no process."""
    with folder_of_its_own() as folder:
        (folder / "tmp").mkdir()
        monkeypatch.setenv("TMPDIR", str(folder / "tmp"))
        yield folder
        assert not os.listdir(folder / "tmp")
        assert not processes_about(str(folder))


def need(name: str) -> None:
    """Fail when a server that every run needs is not there; skip, loudly, when it is another one."""
    server = catalogue.by_name(name)
    if fetch.is_there(server):
        return
    said = f"{name} is not below {catalogue.home()}: scripts/test fetches it"
    if server.required:
        pytest.fail(said)
    pytest.skip(said)


MakeServer = Callable[..., LabServer]


@pytest.fixture
def make_server(lab_dir: Path) -> MakeServer:
    """``make_server(name, *options, init=())``: a fresh running server below the test's folder."""

    def make(name: str, *options: str, init: tuple[str, ...] = (), folder: str = "source") -> LabServer:
        need(name)
        return LabServer(name, lab_dir / folder, options, init=init).create().start()

    return make
