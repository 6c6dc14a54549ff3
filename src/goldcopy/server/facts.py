"""What recovery and later backups must know of a server: variables, plugins, where its keys lie. Never a key."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import msgspec

from goldcopy.formats.keys.ring import configured_path

# Kept for recovery, for the check of a restore's target, and for people who read a manifest years later
_KEPT = (
    "version", "version_comment", "hostname", "server_id", "server_uuid", "datadir", "basedir", "plugin_dir",
    "innodb_page_size", "innodb_data_file_path", "innodb_data_home_dir", "innodb_temp_data_file_path",
    "innodb_undo_tablespaces", "innodb_undo_directory", "innodb_directories", "innodb_log_group_home_dir",
    "innodb_log_file_size", "innodb_log_files_in_group", "innodb_redo_log_capacity", "innodb_checksum_algorithm",
    "innodb_log_checksums", "innodb_file_format", "innodb_file_per_table", "innodb_fast_checksum",
    "innodb_encrypt_log", "innodb_encrypt_tables", "innodb_redo_log_encrypt", "innodb_undo_log_encrypt",
    "innodb_default_encryption_key_id", "innodb_compression_algorithm", "innodb_flush_method", "encrypt_tmp_files",
    "encrypt_binlog", "binlog_encryption", "aria_encrypt_tables", "aria_log_dir_path", "default_storage_engine",
    "lower_case_table_names", "character_set_server", "collation_server", "gtid_mode", "enforce_gtid_consistency",
    "gtid_domain_id", "log_bin", "log_bin_basename", "log_bin_index", "binlog_format", "sync_binlog",
    "innodb_flush_log_at_trx_commit", "innodb_buffer_pool_filename", "default_table_encryption", "keyring_file_data",
    "keyring_operations", "early_plugin_load", "wsrep_on", "rocksdb_datadir",
)  # fmt: skip
_KEPT_PREFIXES = ("file_key_management", "hashicorp_key_management", "aws_key_management", "keyring_")
_SECRET_WORDS = ("password", "token", "secret", "filekey")
_KEYRING_KEPT = ("component_name", "implementation_name", "data_file")


class ServerFacts(msgspec.Struct, frozen=True):
    """``variables``: (name, value), sorted, without secrets; what a keyring component says of itself comes as
    ``keyring_component_name``, ``keyring_implementation_name``, ``keyring_data_file``. ``plugins``: active ones that
    came from a library.
    """

    variables: tuple[tuple[str, str], ...]
    plugins: tuple[str, ...]


def facts_of(
    variables: Mapping[str, str], keyring: Mapping[str, str], plugins: tuple[str, ...]
) -> ServerFacts:
    """What to keep of all that a server says. ``keyring``: ``performance_schema.keyring_component_status``."""
    kept = {n: v for n, v in variables.items() if n in _KEPT or n.startswith(_KEPT_PREFIXES)}
    kept |= {f"keyring_{n}": keyring[n] for n in _KEYRING_KEPT if n in keyring}
    return ServerFacts(tuple(sorted((n, v) for n, v in kept.items() if not is_secret(n, v))), plugins)


def is_secret(name: str, value: str) -> bool:
    """A password or token. The path to a key file is none: ``FILE:`` stays."""
    return bool(value) and any(word in name for word in _SECRET_WORDS) and not value.startswith("FILE:")


def key_files(variables: Mapping[str, str], keyring: Mapping[str, str], datadir: str) -> frozenset[str]:
    """Absolute paths of files that hold keys: they must never get into a backup."""
    names = ("file_key_management_filename", "keyring_file_data", "keyring_encrypted_file_data")
    found = [variables.get(n, "") for n in names]
    filekey = variables.get("file_key_management_filekey", "")
    found += [filekey.removeprefix("FILE:")] if filekey.startswith("FILE:") else []
    found += [keyring.get("data_file", ""), *_component_paths(variables.get("plugin_dir", ""), datadir)]
    return frozenset(os.path.realpath(os.path.join(datadir, f)) for f in found if f)


def _component_paths(*directories: str) -> Iterator[str]:
    """Where the keyring components' own configuration puts their keys: the account may not be allowed to ask."""
    for directory in directories:
        for name in ("component_keyring_file.cnf", "component_keyring_encrypted_file.cnf"):
            try:
                with open(os.path.join(directory, name), "rb") as f:
                    yield configured_path(f.read())
            except OSError:
                continue
