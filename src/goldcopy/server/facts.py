"""What recovery and later backups must know of a server: variables, plugins, where its keys lie. Never a key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

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
MASK = "***"


@dataclass(frozen=True)
class ServerFacts:
    """``variables``: (name, value), sorted; secrets are masked. ``plugins``: active ones that came from a library.

    ``keyring``: (name, value) of ``performance_schema.keyring_component_status``, empty without a component.
    """

    variables: tuple[tuple[str, str], ...]
    plugins: tuple[str, ...]
    keyring: tuple[tuple[str, str], ...] = ()


def kept_variables(variables: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The variables that a manifest keeps, secrets masked."""
    return tuple(
        (name, masked(name, value))
        for name, value in sorted(variables.items())
        if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    )


def masked(name: str, value: str) -> str:
    """A value, unless its name says that it is a secret. A path to a key file is not one: ``FILE:`` stays."""
    if any(word in name for word in _SECRET_WORDS) and value and not value.startswith("FILE:"):
        return MASK
    return value


def key_files(variables: Mapping[str, str], keyring: tuple[tuple[str, str], ...], datadir: str) -> frozenset[str]:
    """Absolute paths of files that hold keys: they must never get into a backup."""
    names = ("file_key_management_filename", "keyring_file_data", "keyring_encrypted_file_data")
    found = [variables.get(n, "") for n in names]
    found.append(variables.get("file_key_management_filekey", "").removeprefix("FILE:"))
    found += [value for name, value in keyring if name.lower() in ("data_file", "component_data_file")]
    return frozenset(os.path.realpath(os.path.join(datadir, f)) for f in found if f and f != MASK)
