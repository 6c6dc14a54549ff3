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
    rows = [(str(name), str(library), str(where)) for name, library, where in instance.session.rows(_QUERY)]
    if not rows:
        return ()
    loads = ";".join(f"{name}={library.removesuffix('.so')}" for name, library, _ in rows)
    variables = [pair for name, _, _ in rows for pair in _variables_of(instance, name)]
    encrypts_log = "1" if instance.variables.get("innodb_encrypt_log", "").upper() == "ON" else "0"
    return (
        f'plugin_dir="{rows[0][2]}"',
        f"plugin_load={loads}",
        *(f"{name}={value}" for name, value in variables if not is_secret(name, value)),
        f"innodb_encrypt_log={encrypts_log}",
        f"innodb_encrypt_tables={instance.variables.get('innodb_encrypt_tables', 'OFF')}",
    )


def _variables_of(instance: Instance, plugin: str) -> list[tuple[str, str]]:
    rows = instance.session.rows(f"SHOW GLOBAL VARIABLES LIKE '{plugin}\\_%'")
    return [(str(name), str(value)) for name, value in rows]
