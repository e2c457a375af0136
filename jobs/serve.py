"""`rxrec serve`: a published version in, the API and the pages out, until Ctrl-C.

Without sign-in on a loopback address only; with it (docs/security.md) on any, behind TLS.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime

import click

from jobs.console import Console
from recommender.access import KeyFile
from recommender.access.keys import FILE as KEYS
from recommender.errors import EngineError, NothingPublished
from recommender.settings import Settings
from recommender.store import open_store

START_SECONDS = 60
TRUST = "trust.json"


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Beyond loopback, sign-in must be on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="TCP port.")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Worker processes.")
@click.pass_obj
def serve(console: Console, host: str, port: int, workers: int) -> None:
    """Serve the API and the clinicians' page.

    Without sign-in (RXREC_AUTH) only on a loopback address, so that nothing else may reach it.
    """
    _require_allowed(host, console.settings)
    _require_free(host, port)
    with open_store(console.settings) as store, tempfile.TemporaryDirectory(prefix="rxrec-metrics-") as counted:
        try:
            store.current()
        except NothingPublished as error:
            console.say(f"{error} The page will say so until then.")
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "api:create_app()"),
                *("--bind", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"),
                *("--workers", str(workers), "--threads", "8", "--worker-connections", "400"),
                # no thread of it waits for a slow client, and no line of its log repeats a request
                *("--worker-class", "api.worker.Worker", "--logger-class", "api.worker.Log"),
                # a worker that still compiles or answers gets so long, then it is ended
                *("--graceful-timeout", "5", "--log-level", "warning", "--no-control-socket"),
            ],
            # the workers share the store that this process holds open, embedded or not, and count together
            env={
                **os.environ,
                "REDIS_URL": store.url,
                "RXREC_WORKDIR": str(console.settings.workdir),
                "PROMETHEUS_MULTIPROC_DIR": counted,
            },
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


def _require_allowed(host: str, settings: Settings) -> None:
    """Raises EngineError for an address that others reach, unless callers must sign in, somebody can, and over TLS."""
    if _is_loopback(host):
        return
    keys = settings.workdir / (settings.keys or KEYS)
    on = settings.auth == "on" or (not settings.auth and keys.exists())
    if not on:
        raise EngineError(
            f"{host} is not a loopback address, and without sign-in this listens on 127.0.0.1 or ::1 only: set "
            "RXREC_AUTH=on and make a key (`rxrec keys add`, docs/security.md)"
        )
    trusted = (settings.workdir / (settings.trust or TRUST)).exists()
    if not trusted and not any(key.lives(datetime.now(UTC)) for key in KeyFile(keys).all()):
        raise EngineError("there is no key that lives, so nobody could sign in: make one with `rxrec keys add`")
    if not settings.base_url.startswith("https://"):
        raise EngineError(
            "beyond loopback, keys and patients' data must travel over TLS: let a proxy in front end it, and set "
            "RXREC_BASE_URL to the https:// address at which callers reach it"
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
