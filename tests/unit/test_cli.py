"""What is typed must be what is done: nothing that was given may lose against something that was not."""

from goldcopy.cli import main
from goldcopy.options import Connection
from goldcopy.server.session import resolve


def test_the_password_of_an_option_file_counts_more_than_that_of_the_environment(tmp_path, monkeypatch):
    options = tmp_path / "my.cnf"
    options.write_text("[client]\npassword=file\nsocket=/s\n")
    monkeypatch.setenv("MYSQL_PWD", "environment")
    values = {field: getattr(Connection(), field) for field in Connection.__dataclass_fields__ if field != "password"}
    assert resolve(main._connection(values | {"defaults_file": str(options)})).password == "file"
