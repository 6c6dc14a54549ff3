"""Entry points: the names that DBAs know. Nothing is imported before it is known what is asked for."""

from __future__ import annotations

import os
import sys

from goldcopy.startup import occupy_streams


def backup_program() -> int:
    """``xtrabackup``, ``innobackupex``, ``mariabackup``, ``mariadb-backup``: which one, the name tells.

    ``BACKUP_ARGV0`` is the name for wrappers that cannot set it.
    """
    occupy_streams()
    from goldcopy.compat.front import run

    return run(os.environ.get("BACKUP_ARGV0") or sys.argv[0], sys.argv[1:], os.environ)


def xbstream() -> int:
    """``xbstream``."""
    occupy_streams()
    from goldcopy.compat.xbstream_main import main

    return main()


def mbstream() -> int:
    """``mbstream``."""
    occupy_streams()
    from goldcopy.compat.xbstream_main import mbstream as main

    return main()


def xbcrypt() -> int:
    """``xbcrypt``."""
    occupy_streams()
    from goldcopy.compat.xbcrypt_main import main

    return main()
