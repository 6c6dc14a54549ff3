"""Advice that names our own commands' options, in the options of the peers: nobody is told to give an unknown one."""

from __future__ import annotations

import re

_PEERS = {
    "--lock-timeout-s": "--ftwrl-wait-timeout, --backup-lock-timeout",
    "--wait-queries-s": "--ftwrl-wait-timeout",
    "--kill-queries-s": "--kill-long-queries-timeout",
    "--safe-replica-timeout-s": "--safe-slave-backup-timeout",
    "--safe-replica": "--safe-slave-backup",
    "--ask-password": "--password",
    "--force-non-empty": "--force-non-empty-directories",
}
_OPTION = re.compile(r"--[a-z][a-z-]*[a-z]")


def in_peers_words(text: str) -> str:
    """The text, with the peers' names of options that have another one there."""
    return _OPTION.sub(lambda found: _PEERS.get(found[0], found[0]), text)
