"""A manifest with a password in it, or a backup with the keys beside the encrypted data, protects nothing."""

import json

from goldcopy.server.facts import facts_of, key_files


def test_secrets_are_left_out_and_what_recovery_needs_is_kept():
    variables = {
        "innodb_page_size": "4096", "file_key_management_filename": "/etc/keys", "max_connections": "5",
        "file_key_management_filekey": "plain words", "hashicorp_key_management_token": "s.secret",
        "keyring_okv_password": "x", "gtid_mode": "ON",
    }  # fmt: skip
    kept = dict(facts_of(variables, {"data_file": "/k", "license": "GPL"}, ("p=p.so",)).variables)
    assert kept == {
        "innodb_page_size": "4096", "file_key_management_filename": "/etc/keys", "gtid_mode": "ON",
        "keyring_data_file": "/k",
    }  # fmt: skip


def test_the_place_of_a_key_file_is_no_secret():
    variables = {"file_key_management_filekey": "FILE:/etc/key"}
    assert dict(facts_of(variables, {}, ()).variables) == variables


def test_every_file_with_keys_is_known(tmp_path):
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "component_keyring_file.cnf").write_text(json.dumps({"path": "/by/cnf", "read_only": False}))
    (plugins / "component_keyring_encrypted_file.cnf").write_text("not json")
    variables = {
        "plugin_dir": str(plugins), "keyring_file_data": "inside", "file_key_management_filename": "/a/keys",
        "file_key_management_filekey": "FILE:/a/key",
    }  # fmt: skip
    found = key_files(variables, {"data_file": "/by/server"}, str(tmp_path))
    assert found == {"/by/cnf", "/by/server", f"{tmp_path}/inside", "/a/keys", "/a/key"}
