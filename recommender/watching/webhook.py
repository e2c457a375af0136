"""Events that are due in, each delivered to one address, signed, until it is taken or given up.

Signed as the specification of Standard Webhooks 1.0 says (https://www.standardwebhooks.com), so that a receiver can use
its libraries: `webhook-id`, `webhook-timestamp`, and `webhook-signature: v1,` with HMAC-SHA-256 of "id.timestamp.body".
At least once: the receiver knows a repeat by its id, and refuses what is more than some minutes old.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ipaddress
import random
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

from recommender.access import SiteSecret
from recommender.errors import EngineError
from recommender.stream import Delivery, Events
from recommender.watching.detected_issue import detected_issue

DELAYS = (1, 5, 30, 120, 600, 3_600, 21_600)  # seconds before each further attempt; then it is given up
JITTER = 0.2
TIMEOUT_SECONDS = 10.0
AT_ONCE = 4
BODY = "application/fhir+json"


@dataclass(frozen=True)
class Receiver:
    """Where events go, and the key that they are signed with."""

    url: str
    key: bytes

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError:
            raise EngineError("RXREC_WEBHOOK is no address: write https://host/path") from None
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.username:
            raise EngineError("RXREC_WEBHOOK must be an https:// address without a user name")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise EngineError(
                "RXREC_WEBHOOK must be https://, as it carries patients' data; http:// to this machine only"
            )

    @property
    def secret(self) -> str:
        """The key as Standard Webhooks writes it, for the receiver."""
        return "whsec_" + base64.b64encode(self.key).decode()


def receiver(url: str, secret: SiteSecret) -> Receiver:
    return Receiver(url, secret.derive("webhook"))


def signature(key: bytes, id_: str, timestamp: int, body: bytes) -> str:
    signed = f"{id_}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


class Sender:
    """`troubled`: told why an event could not be delivered, without values. `clock`: seconds since 1970."""

    def __init__(
        self,
        events: Events,
        to: Receiver,
        troubled: Callable[[str], None] = lambda why: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._events, self._to, self._troubled, self._clock = events, to, troubled, clock

    def turn(self) -> int:
        """Deliver what is due; how many were tried. Raises StoreUnavailable."""
        due = self._events.claim(int(self._clock() * 1000), 4 * AT_ONCE)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for one, why in zip(due, pool.map(self._send, due), strict=True):
                if not why:
                    self._events.delivered(one)
                    continue
                self._troubled(why)
                again = None
                if one.tries < len(DELAYS):
                    delay = DELAYS[one.tries] * random.uniform(1 - JITTER, 1 + JITTER)
                    again = int((self._clock() + delay) * 1000)
                self._events.failed(one, again)
        return len(due)

    def _send(self, delivery: Delivery) -> str:
        """Why it was not taken; "" where it was. No redirect is followed: it would carry a patient elsewhere."""
        id_, at = delivery.event.id, int(self._clock())
        body = orjson.dumps(detected_issue(delivery.event))
        headers = {
            "Content-Type": BODY,
            "User-Agent": "rxrec",
            "webhook-id": id_,
            "webhook-timestamp": str(at),
            "webhook-signature": signature(self._to.key, id_, at, body),
        }
        parts = urlsplit(self._to.url)
        path = parts.path or "/"
        try:
            connection = _connection(parts.scheme, parts.hostname or "", parts.port)
            try:
                connection.request("POST", f"{path}?{parts.query}" if parts.query else path, body, headers)
                status = connection.getresponse().status
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            return f"the receiver cannot be reached ({type(error).__name__})"
        return "" if 200 <= status < 300 else f"the receiver answered {status}"


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
