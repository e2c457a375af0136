"""The embedded server: shared by processes, stopped by the last one, and recovered after any of them was killed."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from recommender import embedded_redis
from recommender.embedded_redis import EmbeddedRedis
from recommender.errors import StoreUnavailable
from recommender.settings import Settings
from recommender.snapshot import Snapshot
from recommender.store import open_store

USER = """
import sys
from pathlib import Path
from recommender.embedded_redis import EmbeddedRedis

print("ready", flush=True)
sys.stdin.readline()
with EmbeddedRedis(Path(sys.argv[1])) as server:
    print(server.url, flush=True)
    sys.stdin.readline()
"""


class User:
    """Another process that uses the embedded server of `workdir` once told to, until told to leave."""

    def __init__(self, workdir: Path) -> None:
        command = [sys.executable, "-c", USER, str(workdir)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def go_on(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def url(self) -> str:
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.communicate("\n\n" if self.process.poll() is None else None)


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Callable[[], User]]:
    users: list[User] = []

    def begin() -> User:
        users.append(User(tmp_path))
        return users[-1]

    yield begin
    for each in users:
        each.process.kill()
        each.process.communicate()


def pid(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return client.info("server")["process_id"]


def is_running(workdir: Path) -> bool:
    with (workdir / "redis-data" / "server.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def kill_server(workdir: Path, url: str) -> None:
    os.kill(pid(url), signal.SIGKILL)
    while is_running(workdir):
        time.sleep(0.01)


def test_two_users_share_one_server_and_the_last_one_stops_it(tmp_path: Path) -> None:
    first = EmbeddedRedis(tmp_path)
    with EmbeddedRedis(tmp_path) as second:
        assert second.url == first.url
        server = pid(first.url)
        first.close()
        first.close()
        assert pid(second.url) == server
        with redis.Redis.from_url(second.url) as client:
            client.set("kept", "yes")
            assert client.config_get("save") == {"save": ""}
            assert client.config_get("hash-max-ziplist-value") == {"hash-max-ziplist-value": "16384"}
        assert os.getsid(server) == server != os.getsid(0)  # Ctrl-C in our terminal is not for it
    assert not is_running(tmp_path)
    assert not Path(first.url.removeprefix("unix://")).parent.exists()
    assert (tmp_path / "redis-data").stat().st_mode & 0o777 == 0o700
    with EmbeddedRedis(tmp_path) as third, redis.Redis.from_url(third.url) as client:
        assert client.get("kept") == b"yes"


def test_four_processes_that_start_at_once_get_one_server(tmp_path: Path, user: Callable[[], User]) -> None:
    users = [user() for _ in range(4)]
    for each in users:
        each.go_on()
    assert len({pid(each.url()) for each in users}) == 1
    for each in users:
        assert is_running(tmp_path)
        each.end()
    assert not is_running(tmp_path)


def test_a_killed_user_is_not_counted(tmp_path: Path, user: Callable[[], User]) -> None:
    with EmbeddedRedis(tmp_path):
        killed = user()
        killed.go_on()
        killed.url()
        killed.process.kill()
        killed.process.wait()
    assert not is_running(tmp_path)


def test_a_server_without_users_is_joined(tmp_path: Path, user: Callable[[], User]) -> None:
    killed = user()
    killed.go_on()
    server = pid(killed.url())
    killed.process.kill()
    killed.process.wait()
    assert is_running(tmp_path)
    with EmbeddedRedis(tmp_path) as joined:
        assert pid(joined.url) == server
    assert not is_running(tmp_path)


def test_a_killed_server_is_started_again(tmp_path: Path, tiny_snapshot: Callable[[str], Snapshot]) -> None:
    with open_store(Settings(workdir=tmp_path)) as store:
        store.publish(tiny_snapshot("v1"))
        store.activate("v1")
        with EmbeddedRedis(tmp_path) as server:
            kill_server(tmp_path, server.url)
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                store.publish(tiny_snapshot("v2"))
            with open_store(Settings(workdir=tmp_path)) as other:
                assert other.current() == "v1"
                assert store.release("v1").version == "v1"  # the older user goes on with the new server
                store.publish(tiny_snapshot("v2"))
    assert not is_running(tmp_path)


def test_a_forked_copy_does_not_stop_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = EmbeddedRedis(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        server.close()
    assert is_running(tmp_path)
    EmbeddedRedis(tmp_path).close()
    assert not is_running(tmp_path)


def test_a_long_working_directory(tmp_path: Path) -> None:
    workdir = tmp_path / ("long" * 30) / ("name" * 30)
    with EmbeddedRedis(workdir) as server:
        assert len(server.url) < 107
        assert is_running(workdir)


@pytest.mark.parametrize("content", [b"", b"REDIS", b"REDIS0009\xfa\x09redis-ver", b"no dump at all"])
def test_a_dump_that_cannot_be_loaded_is_named(tmp_path: Path, content: bytes) -> None:
    dump = tmp_path / "redis-data" / "dump.rdb"
    dump.parent.mkdir()
    dump.write_bytes(content)
    with pytest.raises(StoreUnavailable, match=r"cannot load .*dump\.rdb .*move it away"):
        EmbeddedRedis(tmp_path)
    assert dump.read_bytes() == content
    dump.rename(dump.with_suffix(".bad"))
    EmbeddedRedis(tmp_path).close()


def test_data_that_cannot_be_written_are_not_thrown_away(
    tmp_path: Path, tiny_snapshot: Callable[[str], Snapshot]
) -> None:
    dump = tmp_path / "redis-data" / "dump.rdb"
    store = open_store(Settings(workdir=tmp_path))
    store.publish(tiny_snapshot("v1"))
    dump.mkdir()  # in the way
    with pytest.raises(StoreUnavailable, match="could not be written to disk"):
        store.activate("v1")
    with pytest.raises(StoreUnavailable, match="left running"):
        store.close()
    dump.rmdir()
    with open_store(Settings(workdir=tmp_path)) as again:
        assert again.current() == "v1"
    assert dump.is_file()


def test_a_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_redis, "ANSWER_SECONDS", 0.1)
    with EmbeddedRedis(tmp_path) as server:
        stopped = pid(server.url)
        os.kill(stopped, signal.SIGSTOP)
        try:
            monkeypatch.setattr(embedded_redis, "START_SECONDS", 0.2)
            with pytest.raises(StoreUnavailable, match="does not answer"):
                EmbeddedRedis(tmp_path)
        finally:
            monkeypatch.undo()
            os.kill(stopped, signal.SIGCONT)


def test_a_socket_folder_that_others_can_enter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        with EmbeddedRedis(tmp_path) as server:
            folder = Path(server.url.removeprefix("unix://")).parent
            assert folder.parent == Path(short)
        folder.mkdir()
        folder.chmod(0o755)
        with pytest.raises(StoreUnavailable, match="only you can enter"):
            EmbeddedRedis(tmp_path)
        folder.rmdir()
        folder.symlink_to(tmp_path)
        with pytest.raises(StoreUnavailable, match="only you can enter"):
            EmbeddedRedis(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 100)))
    with pytest.raises(StoreUnavailable, match="TMPDIR"):
        EmbeddedRedis(tmp_path)


def test_a_working_directory_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="--workdir"):
        EmbeddedRedis(tmp_path / "file")


def test_the_server_on_path_does_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with EmbeddedRedis(tmp_path) as server:
        assert pid(server.url)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(StoreUnavailable, match="there is no redis-server: install one"):
        EmbeddedRedis(tmp_path)
