"""Settings of a MariaDB server's plugins without which its files cannot be recovered: keys and compression."""

from __future__ import annotations

from goldcopy.server.facts import is_secret
from goldcopy.server.instance import Instance

_QUERY = (
    "SELECT plugin_name, plugin_library, @@plugin_dir FROM information_schema.plugins WHERE plugin_status = 'ACTIVE'"
    " AND (plugin_type = 'ENCRYPTION' OR (plugin_type = 'DAEMON' AND plugin_name LIKE 'provider\\_%'))"
)


def plugin_settings(instance: Instance) -> tuple[str, ...]:
    """Lines of backup-my.cnf (encryption_plugin.cc): which plugins to load, from where, and their variables.

    What is a secret stays out: a key that stands in the server's option file in plain text must be given again.
    """
    rows = instance.session.rows(_QUERY)
    if not rows:
        return ()
    lines = ["plugin_load=" + ";".join(f"{name}={library}" for name, library, _ in rows)]
    lines.append(f"plugin_dir={rows[0][2]}")
    for name, _, _ in rows:
        for variable, value in instance.session.rows(f"SHOW GLOBAL VARIABLES LIKE '{name}\\_%'"):
            if not is_secret(str(variable), str(value)):
                lines.append(f"{variable}={value}")
    return tuple(lines)
