"""A folder in, a real Spark standalone cluster out: a master and workers of one core each, on loopback, until the end.

What `make bench-spark` measures on and what the slow tests take machines away from.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

LOOPBACK = {  # settings of a night's that has its driver here
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}


@dataclass
class Cluster:
    """Its workers' machines are their process groups; `local` holds what executors put on their disks."""

    url: str
    master: subprocess.Popen[bytes]
    local: Path
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)


@contextlib.contextmanager
def running_cluster(folder: Path, workers: int = 2, memory: str = "1g") -> Iterator[Cluster]:
    """`memory`: what a worker may give its executor's Java. Raises RuntimeError where it does not start."""
    if shutil.which("java") is None:
        raise RuntimeError("java is not on PATH: install it (Debian: apt install openjdk-17-jre-headless)")
    import pyspark  # make test-slow and make bench-spark install it: without it this fails, and is not skipped

    home = Path(pyspark.__path__[0])
    port = free_port()
    environment = {
        **os.environ,
        "SPARK_HOME": str(home),
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_LOCAL_DIRS": str(folder / "local"),
    }

    def start(stack: contextlib.ExitStack, kind: str, *words: str) -> subprocess.Popen[bytes]:
        command = [str(home / "bin/spark-class"), f"org.apache.spark.deploy.{kind}", "--host", "127.0.0.1", *words]
        with (folder / f"{kind}-{len(list(folder.iterdir()))}.log").open("wb") as log:
            process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        stack.callback(process.wait)
        stack.callback(kill, process)
        return process

    with contextlib.ExitStack() as stack:
        page = free_port()
        master = start(stack, "master.Master", "--port", str(port), "--webui-port", str(page))
        _until(lambda: _answers(port), "the Spark master did not start")
        cluster = Cluster(f"spark://127.0.0.1:{port}", master, folder / "local")
        for _ in range(workers):
            options = ["--cores", "1", "--memory", memory, "--webui-port", str(free_port())]
            worker = start(stack, "worker.Worker", *options, "--work-dir", str(folder / "work"), cluster.url)
            cluster.workers.append(worker)
        _until(lambda: _at_work(page) == workers, "the workers did not find their master")
        yield cluster


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kill(process: subprocess.Popen[bytes]) -> None:
    """With all that it started: as if the machine were gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _until(what: Callable[[], bool], otherwise: str) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError, ValueError):
            if what():
                return
        time.sleep(0.1)
    raise RuntimeError(otherwise)


def _answers(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def _at_work(page: int) -> int:
    """How many workers the master's page knows."""
    with urllib.request.urlopen(f"http://127.0.0.1:{page}/json/", timeout=5) as answer:
        return int(json.load(answer)["aliveworkers"])
