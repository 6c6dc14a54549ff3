"""Settings of a MariaDB server's plugins without which its files cannot be recovered: keys and compression."""

from __future__ import annotations

from collections.abc import Iterable

from goldcopy.errors import Unsupported
from goldcopy.formats.innodb.page import compression_algorithm
from goldcopy.image.manifest import Space
from goldcopy.server.facts import is_secret
from goldcopy.server.instance import Instance

_ALGORITHMS = {2: "lz4", 3: "lzo", 4: "lzma", 5: "bzip2", 6: "snappy"}
"""zlib is built in, the others come as plugins from MariaDB 10.7 on."""

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


def missing_algorithms(instance: Instance) -> frozenset[str]:
    """Page compression algorithms that the server has not loaded."""
    rows = instance.session.rows("SHOW GLOBAL STATUS LIKE 'Innodb\\_have\\_%'")
    off = {str(name).rpartition("_")[2].lower() for name, value in rows if str(value).upper() == "OFF"}
    return frozenset(off)


def refuse_unreadable(spaces: Iterable[Space], missing: frozenset[str]) -> None:
    """Raises Unsupported when a table cannot be read by the server: no recovery could apply its redo."""
    for space in spaces:
        algorithm = _ALGORITHMS.get(compression_algorithm(space.flags), "")
        if algorithm in missing:
            raise Unsupported(
                f"{space.path} is compressed with {algorithm}, which the server has not loaded: it cannot read the "
                "table itself, and the backup could not be prepared",
                hint=f"INSTALL SONAME 'provider_{algorithm}', or leave the table out with --tables-exclude",
            )
