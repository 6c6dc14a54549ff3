"""The originals write local times; the expected ones of these tests are UTC, wherever they run."""

import time

import pytest


@pytest.fixture(autouse=True)
def in_utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()
