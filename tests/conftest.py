"""Options of the whole test run."""

from __future__ import annotations

import pytest

from lab import catalogue


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--all-servers``: also those servers that no CI run needs."""
    parser.addoption("--all-servers", action="store_true", help="run on all six servers, not only on the needed four")
    parser.addoption("--on", metavar="NAME", action="append", help="run server tests on this server only (repeatable)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the servers that this run is not about."""
    wanted = set(config.getoption("--on") or ())
    if not wanted:
        wanted = {s.name for s in catalogue.SERVERS if s.required or config.getoption("--all-servers")}
    kept, left = [], []
    for item in items:
        name = item.callspec.params.get("server_name") if hasattr(item, "callspec") else None
        (kept if name is None or name in wanted else left).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept
