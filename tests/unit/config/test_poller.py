"""A poller file is taken as the list of connections to serve; what is wrong in it is named as in the configuration."""

import orjson
import pytest

from connect.config import ConfigProblems, load_config
from connect.config.load import files_of
from tests.unit.config.test_mistakes import ENVIRON, GOOD, INSTRUCTS, second_connection

TWO = (
    second_connection(name='"acme-PROD"', environment='"PROD"')
    .replace('cron = "0 * * * *"\n[[conn', "[[conn")
    .removesuffix('cron = "0 * * * *"\n')
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "connect.toml").write_text(TWO)
    return tmp_path


def served(folder, text, name="acme.poller.json"):
    (folder / name).write_text(text)
    return load_config(folder / name, environ=ENVIRON)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("acme.json", '{"pollers": [{"connection": "acme-PROD", "interval": "15m"}], "logLevel": "debug"}'),
        ("acme.json", '{"Connection": "acme-PROD", "Interval": "15m", "LogLevel": "debug", "Config": "connect.toml"}'),
        ("acme.toml", 'log_level = "info"\n[[pollers]]\nconnection = "acme-PROD"\ninterval = "15m"\nlog_level = "debug"\n'),
    ],
)
def test_poller_file_names_the_connections_their_interval_and_the_log_level(folder, name, text):
    config = served(folder, text, name)
    (connection,) = config.connections
    assert (connection.name, connection.jobs[0].every, config.log_level) == ("acme-PROD", "15m", "debug")
    assert config.path == folder / name
    assert files_of(folder / name) == [folder / name, folder / "connect.toml"]


def test_interval_leaves_jobs_alone_that_have_a_schedule(folder):
    (folder / "connect.toml").write_text(GOOD)
    (connection,) = served(folder, '{"connection": "acme-TEST", "interval": "15m"}').connections
    assert (connection.jobs[0].cron, connection.jobs[0].every) == ("0 * * * *", None)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("{", "acme.poller.json:1: ", "is not valid JSON"),
        ("[]", "acme.poller.json:1: ", "expected a JSON object with pollers"),
        ('{"pollers": []}', "acme.poller.json:1: pollers: ", "names no connection; expected at least one"),
        ('{"pollers": {}}', "acme.poller.json:1: pollers: ", "expected a list of tables"),
        ('{"pollers": [{"conection": "acme-TEST"}]}', "acme.poller.json:1: pollers[0].conection", 'did you mean "connection"?'),
        ('{"connection": "acme-TST"}', "acme.poller.json: connection", 'did you mean "acme-TEST"? (there are: acme-TEST, acme-PROD)'),
        ('{"connection": "acme-TEST", "interval": "soon"}', "acme.poller.json:1: interval", '"15m", "2h" or "1d"'),
        ('{"connection": "acme-TEST", "interval": "0m"}', "acme.poller.json:1: interval", '"15m", "2h" or "1d"'),
        ('{"connection": "acme-TEST", "logLevel": "warn"}', "acme.poller.json:1: log_level", 'did you mean "warning"?'),
        ('{"connection": 5}', "acme.poller.json:1: connection = 5", "expected the name of a connection"),
        ('{"connection": "acme-TEST", "config": "other.toml"}', "other.toml: ", "there is no such file"),
        ('{"connection": "acme-TEST", "config": "acme.poller.json"}', "acme.poller.json: ", "is a poller file too"),
        ('{"pollers": [{"connection": "acme-TEST"}, {"connection": "acme-TEST"}]}', "acme.poller.json:1: pollers[1].connection", "twice"),
    ],
)
def test_mistake_in_a_poller_file_is_named(folder, text, place, words):
    with pytest.raises(ConfigProblems) as raised:
        served(folder, text)
    matching = [line for line in raised.value.problems if words in line]
    assert matching, raised.value.problems
    assert matching[0].removeprefix(f"{folder}/").startswith(place), matching
    assert all(INSTRUCTS.search(line.split(": ", 1)[1]) for line in raised.value.problems)
    assert set(raised.value.owners) == {"consultant"}


def test_mistake_in_a_toml_poller_file_has_its_line(folder):
    with pytest.raises(ConfigProblems) as raised:
        served(folder, 'config = "connect.toml"\n[[pollers]]\nconnection = "acme-TEST"\nintervall = "1h"\n', "p.toml")
    (line,) = raised.value.problems
    assert line.startswith(f"{folder}/p.toml:4: pollers[0].intervall")


def test_example_of_the_documentation_is_right(folder):
    text = orjson.dumps(
        {"config": "connect.toml", "pollers": [{"connection": "acme-PROD", "interval": "15m"}], "logLevel": "info"}
    ).decode()
    assert served(folder, text).log_level == "info"
