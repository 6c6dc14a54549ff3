"""Server processes of our own: a real mysqld or mariadbd on a directory, private and without network."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence

from goldcopy.errors import GoldcopyError, KeyMissing, NoSpace, RecoveryFailed
from goldcopy.events import Emit, Note

_STALL_S = 900.0
_DYING_S = 30.0
"""After its engine has given up: MariaDB 11.8 does not end where its log found no room, and its page cleaner spins."""
_GIVEN_UP = "Plugin initialization aborted"
_POLL_S = 0.05
_SUN_PATH_BYTES = 107
_ALMOST_FULL_BYTES = 16 << 20
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

_KEY_WORDS = (
    "keyring", "key_management", "encryption key", "master key", "cannot be decrypted", "decryption", "is encrypted",
    "encryption plugin",
)  # fmt: skip
_SPACE_WORDS = (
    "no space left on device", "error number 28", "errno: 28", "error 28", "os errno 28", "disk is full",
    "out of disk space",
)  # fmt: skip


class RecoveryRun(contextlib.AbstractContextManager["RecoveryRun"]):
    """A server running on ``datadir`` while the block runs, with ``options`` and nothing of the host's configuration.

    Its socket (``socket_path``) lies in a private directory; its messages are appended to ``log_path``. As root the
    server runs as the owner of ``datadir``, or of another file (``owned_by``). Call ``wait_ready``, then ``stop`` for
    a clean shutdown; leaving the block without ``stop`` kills it. Its log lines come as detail notes.

    Raises RecoveryFailed, KeyMissing or NoSpace, by what the log says, when the server does not come up, makes no
    progress for a quarter of an hour, or does not end cleanly.
    """

    def __init__(
        self, binary: str, datadir: str, options: Sequence[str], log_path: str, emit: Emit, *, owned_by: str = ""
    ) -> None:
        self._binary, self._datadir, self._options = binary, os.path.abspath(datadir), list(options)
        self._log_path, self._emit = os.path.abspath(log_path), emit
        self._owned_by = owned_by or self._datadir

    def __enter__(self) -> RecoveryRun:
        owner = os.stat(self._owned_by)
        self._private = _short_directory()
        self.socket_path = os.path.join(self._private, "s")
        self._log_start = self._told = os.path.getsize(self._log_path) if os.path.exists(self._log_path) else 0
        with open(self._log_path, "ab") as log:
            if os.geteuid() == 0:
                os.chown(self._private, owner.st_uid, owner.st_gid)
                os.fchown(log.fileno(), owner.st_uid, owner.st_gid)
            self._process = subprocess.Popen(
                self._command(owner.st_uid),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # Ctrl-C is ours to handle
                preexec_fn=_die_with_us,  # one system call, nothing that a thread could hold
            )  # fmt: skip
        self._gave_up_at = 0.0
        self._progress = _Progress(self._process.pid, self._log_path)
        return self

    def _command(self, uid: int) -> list[str]:
        command = [
            self._binary,
            "--no-defaults",
            f"--datadir={self._datadir}",
            f"--socket={self.socket_path}",
            f"--pid-file={self._private}/pid",
            f"--tmpdir={self._private}",
            f"--log-error={self._log_path}",
        ]
        if os.geteuid() == 0:
            command.append(f"--user={_account(uid)}")
        return command + self._options

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Return when the server answers on its socket; there is no limit but progress."""
        while not self._answers():
            if self._process.poll() is not None:
                self._tell_log()
                raise self._failure(f"the server ended with status {self._process.returncode}")
            self._wait("to come up")
        self._tell_log()

    def stop(self) -> None:
        """Shut the server down cleanly."""
        self._process.send_signal(signal.SIGTERM)
        while self._process.poll() is None:
            self._wait("to shut down")
        self._tell_log()
        if self._process.returncode != 0:
            raise self._failure(f"the server's shutdown ended with status {self._process.returncode}")

    def log_text(self) -> str:
        """What this run wrote to its log."""
        with open(self._log_path, "rb") as f:
            f.seek(self._log_start)
            return f.read().decode("utf-8", "replace")

    def _answers(self) -> bool:
        """A server sends its greeting to whoever connects; no account is needed for that."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(5)
            try:
                s.connect(self.socket_path)
                return len(s.recv(5)) == 5
            except OSError:
                return False

    def _wait(self, what: str) -> None:
        self._tell_log()
        if self._progress.stalled_s() > _STALL_S:
            raise self._failure(f"the server did nothing for {_STALL_S:.0f} s while it was {what}")
        if self._gave_up_at and time.monotonic() - self._gave_up_at > _DYING_S:
            raise self._failure("the server gave up, but does not end")
        time.sleep(_POLL_S)

    def _failure(self, what: str) -> GoldcopyError:
        """Where the disk is full, the log may not hold that either: look for ourselves."""
        disk = os.statvfs(self._datadir)
        free_bytes = disk.f_bavail * disk.f_frsize
        if free_bytes < _ALMOST_FULL_BYTES:
            what += f", and there is no space left on device: {free_bytes:,} bytes are free at {self._datadir}"
        return failure(self.log_text(), what)

    def _tell_log(self) -> None:
        """Pass on whole lines that are new."""
        with open(self._log_path, "rb") as f:
            f.seek(self._told)
            text, newline, _ = f.read().rpartition(b"\n")
        self._told += len(text + newline)
        for line in text.decode("utf-8", "replace").splitlines():
            if _GIVEN_UP in line:
                self._gave_up_at = time.monotonic()
            self._emit(Note(line, detail=True))

    def __exit__(self, *exc: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._private, ignore_errors=True)


class _Progress:
    """Does a process do anything: log, CPU time, bytes read and written?"""

    def __init__(self, pid: int, log_path: str) -> None:
        self._pid, self._log_path = pid, log_path
        self._last = self._signs()
        self._since = time.monotonic()

    def stalled_s(self) -> float:
        now = self._signs()
        if now != self._last:
            self._last, self._since = now, time.monotonic()
        return time.monotonic() - self._since

    def _signs(self) -> tuple[int, str, str]:
        return (os.path.getsize(self._log_path), self._io(), self._cpu())

    def _io(self) -> str:
        try:
            with open(f"/proc/{self._pid}/io", encoding="ascii") as f:
                return f.read()
        except OSError:
            return ""

    def _cpu(self) -> str:
        """Whole seconds only: a server that idles still ticks a little."""
        try:
            with open(f"/proc/{self._pid}/stat", encoding="ascii", errors="replace") as f:
                fields = f.read().rpartition(")")[2].split()
        except OSError:
            return ""
        return str((int(fields[11]) + int(fields[12])) // os.sysconf("SC_CLK_TCK"))


def _die_with_us() -> None:
    """When we are killed, the kernel kills the server: a MariaDB that is starting would lose a SIGTERM, and go on.

    The kernel forgets it when the server changes its account (--user), or gets a user namespace (unshare -U).
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _short_directory() -> str:
    """A private directory in which the path of a socket fits the system's limit."""
    for parent in (None, "/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108
        path = tempfile.mkdtemp(prefix="gc-", dir=parent)
        if len(os.fsencode(path)) + 2 <= _SUN_PATH_BYTES:
            return path
        os.rmdir(path)
    raise RecoveryFailed("no directory is short enough for a socket", hint="set TMPDIR to a short path")


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def failure(log: str, what: str) -> GoldcopyError:
    """The error that fits what a server's log says."""
    from goldcopy.dialect.recovery import error_lines

    errors = error_lines(log)
    said = "\n  ".join(errors[:10]) or "\n  ".join(log.strip().splitlines()[-5:])
    message = f"{what}; it said:\n  {said}" if said else what
    text = " ".join(errors).lower()
    if any(w in (log + what).lower() for w in _SPACE_WORDS):
        return NoSpace(message, hint="make room on the target's file system and run it again")
    if any(w in text for w in _KEY_WORDS):
        return KeyMissing(
            message,
            hint="give it the source's keys: --keyring (MySQL), or --server-option, as in the source's configuration",
        )
    return RecoveryFailed(message)
