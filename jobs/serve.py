"""`rxrec serve`: a published version in, the API and the pages on loopback out, until Ctrl-C."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import click

from jobs.console import Console
from recommender.errors import EngineError, NothingPublished
from recommender.store import open_store

START_SECONDS = 60


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address: there is no sign-in yet.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="TCP port.")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Worker processes.")
@click.pass_obj
def serve(console: Console, host: str, port: int, workers: int) -> None:
    """Serve the API and the clinicians' page.

    Only on a loopback address: this release has no sign-in, so nothing else may reach it.
    """
    _require_loopback(host)
    _require_free(host, port)
    with open_store(console.settings) as store:
        try:
            store.current()
        except NothingPublished as error:
            console.say(f"{error} The page will say so until then.")
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "api:create_app()"),
                *("--bind", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"),
                *("--workers", str(workers), "--threads", "4", "--worker-class", "gthread"),
                *("--log-level", "warning", "--no-control-socket"),
            ],
            # the workers share the store that this process holds open, embedded or not
            env={**os.environ, "REDIS_URL": store.url, "RXREC_WORKDIR": str(console.settings.workdir)},
            stdout=sys.stderr,  # its log; this command's own stdout holds its result alone
            start_new_session=True,  # Ctrl-C reaches this process only, which then stops the server in order
        )
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
            _wait_until_up(address, server)
            console.result({"address": address, "pid": os.getpid()}, f"Serving on {address}  (Ctrl-C stops)")
            code = server.wait()
            raise EngineError(f"the server stopped by itself with exit code {code}: its log is above")
        except KeyboardInterrupt:
            console.say("stopping ...")
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave the workers behind
            server.terminate()
            server.wait()


def _require_loopback(host: str) -> None:
    try:
        allowed = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        allowed = False
    if not allowed:
        raise EngineError(
            f"{host} is not a loopback address. This release has no sign-in, so it listens on 127.0.0.1 or ::1 only; "
            "to reach it from elsewhere, put a proxy that authenticates in front of it."
        )


def _require_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise EngineError(f"port {port} of {host} is in use: choose another with --port") from error


def _wait_until_up(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise EngineError(f"the server did not start (exit code {server.returncode}): its log is above")
        try:
            with urllib.request.urlopen(f"{address}health/live", timeout=1):  # noqa: S310  (our own loopback address)
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise EngineError(f"the server did not answer within {START_SECONDS} seconds")
