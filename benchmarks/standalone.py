"""A folder in, a real Spark standalone cluster out: one master and workers of one core each, on loopback, until the end.

What `make bench-spark` measures on and what the slow tests take machines away from.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
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
        master = start(stack, "master.Master", "--port", str(port), "--webui-port", str(free_port()))
        _until_answers(port)
        cluster = Cluster(f"spark://127.0.0.1:{port}", master, folder / "local")
        for _ in range(workers):
            options = ["--cores", "1", "--memory", memory, "--webui-port", str(free_port())]
            worker = start(stack, "worker.Worker", *options, "--work-dir", str(folder / "work"), cluster.url)
            cluster.workers.append(worker)
        yield cluster


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kill(process: subprocess.Popen[bytes]) -> None:
    """With all that it started: as if the machine were gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _until_answers(port: int) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise RuntimeError("the Spark master did not start")
