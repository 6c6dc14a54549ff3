"""What is typed must be what is done: nothing that was given may lose against something that was not."""

import pytest
from click.testing import CliRunner

from goldcopy.cli import main
from goldcopy.options import Connection
from goldcopy.server.session import resolve


@pytest.mark.parametrize(
    "words",
    [
        # with no thread at all nothing was copied, and nothing said so
        ["restore", "--from", "b", "--datadir", "d", "--no-recover", "--parallel", "0"],
        ["prepare", "b", "--parallel", "0"],
        ["prepare", "b", "--parallel", "100000"],
        ["prepare", "b", "--use-memory-mb", "-1"],
        ["backup", "--to", "b", "--parallel", "0"],
        ["backup", "--to", "b", "--throttle-mb", "nan"],
        ["backup", "--to", "b", "--throttle-mb", "-1"],
        ["backup", "--to", "b", "--lock-timeout-s", "inf"],
        ["backup", "--to", "b", "--port", "65536"],
    ],
    ids=" ".join,
)
def test_a_number_that_means_nothing_is_refused(words):
    answer = CliRunner().invoke(main._group(), words)
    assert answer.exit_code == 2
    assert words[-2] in answer.output


def test_the_password_of_an_option_file_counts_more_than_that_of_the_environment(tmp_path, monkeypatch):
    options = tmp_path / "my.cnf"
    options.write_text("[client]\npassword=file\nsocket=/s\n")
    monkeypatch.setenv("MYSQL_PWD", "environment")
    values = {field: getattr(Connection(), field) for field in Connection.__dataclass_fields__ if field != "password"}
    assert resolve(main._connection(values | {"defaults_file": str(options)})).password == "file"
