"""Makes the lists of options that ours are compared with. Run: make.py XTRABACKUP_MD MARIADB_BACKUP...

From XtraBackup only names are known (a document lists them); from mariadb-backup the real --help, one line
an option: name, short form, and ``none``, ``required`` or ``optional`` for its value.
"""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def braces(text: str) -> list[str]:
    found = re.match(r"(.*?)\{([^}]*)\}(.*)", text, re.S)
    if not found:
        return [text]
    before, inside, after = found.groups()
    return [name for part in inside.split(",") for name in braces(before + part.strip() + after)]


def xtrabackup(document: str) -> list[str]:
    section = document.split("## Options of xtrabackup")[1].split("## Features by version")[0]
    words = re.findall(r"--[a-z][a-z-]*(?:\{[^}]*\}[a-z-]*)?", section)
    names = {name.removeprefix("--").strip("-") for word in words for name in braces(word)}
    return sorted(names - {""})


def mariadb(program: str) -> tuple[str, list[str]]:
    text = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"groups are read:.* mariadb-(\d+\.\d+)", text)[1]
    lines = {}
    for short, name, value in re.findall(r"^  (?:-(.), )?--([a-z][a-z-]*)(\[?=\S*)?", text, re.M):
        arg = "none" if not value else "optional" if value.startswith("[") else "required"
        lines.setdefault(name, f"{name}\t{short or '-'}\t{arg}")
    for name in re.findall(r"^([a-z][a-z-]+) +\S", text.split("(after reading options)", 1)[1], re.M):
        if name != "and":
            lines.setdefault(name, f"{name}\t-\t?")
    return version, sorted(lines.values())


def main(document: str, *programs: str) -> None:
    (HERE / "xtrabackup.txt").write_text("\n".join(xtrabackup(Path(document).read_text())) + "\n")
    for program in programs:
        version, lines = mariadb(program)
        (HERE / f"mariadb-backup-{version}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
