"""Clients that send or take slowly keep nobody else out, and are closed in time; all others are served as before."""

import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.slow_app import BIG

ROOT = Path(__file__).parents[2]
SECONDS = 2  # RXREC_CLIENT_SECONDS here
PLACES = 60
FAST = b"POST /fast HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[tuple[int, Path]]:
    """One worker of two threads; its port and its log."""
    log = tmp_path_factory.mktemp("slow") / "log"
    command = [sys.executable, "-m", "gunicorn", "tests.api.slow_app:app", "--workers", "1", "--threads", "2"]
    command += ["--worker-class", "api.worker.Worker", "--logger-class", "api.worker.Log", "--no-control-socket"]
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening, log.open("wb") as output:
        command += ["--worker-connections", str(PLACES), "--bind", f"fd://{listening.fileno()}"]
        environment = {**os.environ, "RXREC_CLIENT_SECONDS": str(SECONDS)}
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, pass_fds=[listening.fileno()], stdout=output, stderr=output
        )
        port = listening.getsockname()[1]
        try:
            assert asked(port, FAST, timeout=60).endswith(b"/fast abc")
            yield port, log
        finally:
            process.terminate()
            began = time.monotonic()
            process.wait()
            assert time.monotonic() - began < 10


@pytest.fixture
def port(server) -> int:
    return server[0]


def connected(port: int, timeout: float = 10) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=timeout)


def asked(port: int, sent: bytes, timeout: float = 10) -> bytes:
    """All that comes back until the server closes."""
    with connected(port, timeout) as client:
        client.sendall(sent)
        return rest(client)


def rest(client: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionError):
        while data := client.recv(1 << 16):
            found += data
    return found


def closed_within(clients: list[socket.socket], seconds: float) -> float:
    """Until the server has closed all of them."""
    began, left = time.monotonic(), set(clients)
    while left:
        assert time.monotonic() - began < seconds, f"{len(left)} are still open"
        for client in select.select(list(left), [], [], 0.1)[0]:
            with contextlib.suppress(ConnectionError):
                if client.recv(1 << 20):
                    continue
            left.discard(client)
    return time.monotonic() - began


SLOW = {
    "nothing": (b"", b""),
    "a head": (b"GET /", b"x"),
    "headers": (b"GET / HTTP/1.1\r\n", b"a: b\r\n"),
    "a body": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "chunks": (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
}


def test_who_trickles_a_request_keeps_nobody_out_and_is_closed_in_time(port):
    """Ten times as many as threads, each of which would hold one for as long as it trickles."""
    with contextlib.ExitStack() as stack:
        slow = [(stack.enter_context(connected(port)), more) for more in SLOW.values() for _ in range(4)]
        for client, (first, _) in slow:
            client.sendall(first)
        began, waits = time.monotonic(), []
        while time.monotonic() - began < SECONDS - 0.5:
            asked_at = time.monotonic()
            assert asked(port, FAST).endswith(b"/fast abc")
            waits.append(time.monotonic() - asked_at)
            for client, (_, more) in slow:
                client.sendall(more)
            time.sleep(0.1)
        assert len(waits) > 4 and max(waits) < 1
        # the trickle does not prolong anything
        assert closed_within([client for client, _ in slow], 3) < SECONDS


def test_who_does_not_take_the_answer_keeps_nobody_out_and_is_closed_in_time(port):
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(port)) for _ in range(10)]
        for client in slow:
            client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.3)
        asked_at = time.monotonic()
        for _ in range(5):
            assert asked(port, FAST).endswith(b"/fast abc")
        assert time.monotonic() - asked_at < 1
        late = stack.enter_context(connected(port))
        late.sendall(b"GET / HT")
        time.sleep(SECONDS + 1.5)
        assert rest(late).startswith(b"HTTP/1.1 408 ")
        for client in slow:
            assert len(rest(client)) < BIG  # cut off


def test_who_takes_a_large_answer_gets_all_of_it(port):
    answer = asked(port, b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert len(answer.partition(b"\r\n\r\n")[2]) == BIG
    with connected(port) as client:  # in small bites, within its time
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        time.sleep(0.5)
        assert len(rest(client)) > BIG


def test_when_all_places_are_taken_who_waited_longest_makes_room(port):
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(connected(port)) for _ in range(PLACES + 20)]
        asked_at = time.monotonic()
        assert asked(port, FAST).endswith(b"/fast abc")
        assert time.monotonic() - asked_at < 1
        closed_within(idle[:15], 1)


# --- everybody else --------------------------------------------------------------------------------------------------

CHUNKED = b"POST /c HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (FAST, b"/fast abc"),
        (b"GET /g HTTP/1.0\r\n\r\n", b"/g "),
        (CHUNKED + b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n", b"/c abcdefg"),
        (CHUNKED + b"3\r\nabc\r\n0\r\nA: b\r\n\r\n", b"/c abc"),
        (FAST.replace(b"Content-Length: 3", b"content-length:\t3 "), b"/fast abc"),
    ],
)
@pytest.mark.parametrize("how", ["at once", "in pieces", "and no more"])
def test_requests_are_answered_however_they_come(port, sent, body, how):
    with connected(port) as client:
        step = 11 if how == "in pieces" else len(sent)
        for at in range(0, len(sent), step):
            client.sendall(sent[at : at + step])
            if how == "in pieces":
                time.sleep(0.002)
        if how == "and no more":
            client.shutdown(socket.SHUT_WR)
        assert rest(client).partition(b"\r\n\r\n")[2] == body


def test_one_connection_serves_many_requests_also_sent_ahead(port):
    keep = FAST.replace(b"Connection: close\r\n", b"")
    with connected(port) as client:
        for _ in range(3):
            client.sendall(keep)
            answer = b""
            while not answer.endswith(b"/fast abc"):
                answer += client.recv(1 << 16)
            assert answer.count(b"HTTP/1.1 200") == 1
    assert asked(port, keep * 3 + FAST).count(b"/fast abc") == 4
    with connected(port) as client:
        client.sendall(keep + FAST[:20])
        time.sleep(0.2)
        client.sendall(FAST[20:])
        assert rest(client).count(b"/fast abc") == 2


def test_a_client_that_asks_first_is_told_to_go_on_once(port):
    with connected(port) as client:
        client.sendall(FAST[:-3].replace(b"Host: x", b"Host: x\r\nExpect: 100-continue"))
        assert client.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"abc")
        answer = rest(client)
        assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"/fast abc") and b" 100 " not in answer


def test_too_large_a_body_is_refused_without_it_and_nothing_behind_is_taken_for_a_request(port):
    behind = b"GET /behind HTTP/1.1\r\nHost: x\r\n\r\n"
    for length in (b"Content-Length: 99999999", b"Transfer-Encoding: chunked"):
        head = b"POST /ignores HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n\r\n"
        with connected(port) as client:
            client.sendall(head if b"Content" in length else head + b"3000000\r\n")
            with contextlib.suppress(ConnectionError):
                client.sendall(b"x" * 3_000_000 if b"chunked" in length else behind)
                client.sendall(behind)
            answer = rest(client)
        assert answer.startswith(b"HTTP/1.1 413") and b"/behind" not in answer


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"PAT-QQ47\r\n\r\n", 400),
        (b"GET /v1/patients/PAT-QQ47 x HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nPAT-QQ47 : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: PAT-QQ47\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: PAT-QQ47\r\n\r\n", 501),
        (b"GET /" + b"PAT-QQ47" * 3000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"a: PAT-QQ47\r\n" * 200 + b"\r\n", 431),
        (b"GET /" + b"PAT-QQ47" * 30_000, 414),
        (CHUNKED + b"PAT-QQ47\r\n", 400),
        (CHUNKED + b"3\r\nabcPAT-QQ47\r\n0\r\n\r\n", 400),
        (b"GET /breaks/PAT-QQ47 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
        (b"GET /breaks HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    ],
)  # fmt: skip
def test_what_is_no_request_is_repeated_neither_in_the_answer_nor_in_the_log(server, sent, status):
    port, log = server
    with connected(port) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(sent)
        answer = rest(client)
    if b"/breaks/" not in sent:
        assert b"QQ47" not in answer
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:100]
    assert asked(port, FAST).endswith(b"/fast abc")
    assert b"QQ47" not in log.read_bytes()
    if sent.startswith(b"GET /breaks HTTP"):
        assert b"ValueError" in log.read_bytes()
