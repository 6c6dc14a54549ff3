"""What every command that recovers a backup is told about the recovering server."""

from __future__ import annotations

from dataclasses import dataclass

from goldcopy.options import opt
from goldcopy.restore.keys import KeyOptions
from goldcopy.restore.recovery import RecoveryOptions


@dataclass(frozen=True, kw_only=True)
class Recovering:
    """Options of a command that recovers."""

    mysqld: str = opt("server binary for recovery (else found on the PATH by the backup's version)", "", metavar="BIN")
    use_memory_mb: int = opt("buffer pool for recovery (0: chosen from the redo and the machine)", 0, metavar="MB")
    server_option: tuple[str, ...] = opt(
        "option for the recovering server, as key files need (may be repeated)", (), metavar="NAME=VALUE",
        example="file-key-management-filename=/etc/keys",
    )
    keyring: str = opt(
        "MySQL's keyring of the source: its file, or the component's .cnf (default: where the source had it)", "",
        example="/safe/keyring", metavar="FILE",
    )
    force_binary: bool = opt("let a server of another version recover this backup", False)

    def recovery_options(self) -> RecoveryOptions:
        """What recovery is told."""
        return RecoveryOptions(
            binary=self.mysqld,
            memory_bytes=self.use_memory_mb << 20,
            extra=tuple("--" + o.lstrip("-") for o in self.server_option),
            force=self.force_binary,
            keys=KeyOptions(keyring=self.keyring),
        )
