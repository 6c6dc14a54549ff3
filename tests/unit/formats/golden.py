"""The golden files: what real servers wrote (see ``tests/unit/golden/make.py``)."""

from __future__ import annotations

import json
import lzma
import os
from pathlib import Path

HERE = Path(__file__).parent.parent / "golden"
INDEX = json.loads((HERE / "index.json").read_text())


def load(name: str) -> bytes:
    """One golden file, decompressed."""
    return lzma.decompress((HERE / f"{name}.xz").read_bytes())


def family(name: str) -> str:
    """The family of the server that wrote a tablespace."""
    return "mariadb" if INDEX["spaces"][name]["server"].startswith("mariadb") else "mysql"


def log_directory(layout: str, target: Path) -> str:
    """Lay the log files of a killed server out as it left them, sparse; returns the log directory."""
    entry = INDEX["redo"][layout]
    folder = target / entry["folder"]
    folder.mkdir(exist_ok=True)
    for name, size in entry["files"].items():
        path = folder / name
        path.write_bytes(load(f"{layout}-{name.strip('#')}"))
        os.truncate(path, size)
    return str(target)
