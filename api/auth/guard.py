"""Every request in, through or refused by the table of rules: before its route, its form or its body is looked at.

`on`: a caller proves who they are (`bearer.py`) and has a role that the rule names. `off` is the open demonstration: it
answers requests from this machine to this machine only, however it was started, and every page says so.
"""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, redirect, request, url_for
from werkzeug.middleware.proxy_fix import ProxyFix

from api import frame
from api.auth import bearer
from api.auth.callers import DEMO, Caller
from api.auth.limits import Limits
from api.auth.rules import RULES, Rule
from api.auth.trust import Trust, TrustFile
from api.errors import NotAllowed, NotSignedIn
from api.exchange import Exchange, caller, exchange
from api.serving import serving
from recommender.access import KeyFile, Shared, SiteSecret
from recommender.access.keys import FILE as KEYS
from recommender.settings import Settings

TRUST = "trust.json"
FAILURES = 30  # wrong credentials a minute from one address
SAFE = ("GET", "HEAD", "OPTIONS")
LOCAL_NAMES = ("localhost",)
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "X-Forwarded-Host")
HSTS = "max-age=31536000"


class Access:
    """Who may, for one application: its files, its counts, and what all its processes share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keys = KeyFile(within(settings, settings.keys, KEYS))
        self.trust_file = TrustFile(within(settings, settings.trust, TRUST))
        self.limits = Limits(self.shared)
        self.on = is_on(settings)
        self._shared: Shared | None = None

    @property
    def trust(self) -> Trust:
        return self.trust_file.current()

    @property
    def base_url(self) -> str:
        """Where callers reach us; no request can say otherwise."""
        return self.settings.base_url or request.host_url.rstrip("/")

    @property
    def secure(self) -> bool:
        """Whether callers reach us over TLS, ours or a proxy's."""
        return self.settings.base_url.startswith("https://") or request.is_secure

    def secret(self) -> SiteSecret:
        return SiteSecret.load(self.settings.secret_file)

    def shared(self) -> Shared:
        """Raises StoreUnavailable."""
        url = serving().store().url
        if self._shared is None:
            self._shared = Shared(url, self.settings.key_prefix)
        return self._shared


def within(settings: Settings, told: str, usual: str) -> Any:
    """A file that is named, or that of the working directory."""
    return settings.workdir / (told or usual)


def is_on(settings: Settings) -> bool:
    """As it is set; where it is not, a file of keys turns it on."""
    return settings.auth == "on" or (not settings.auth and within(settings, settings.keys, KEYS).exists())


def guard(app: Flask, settings: Settings) -> None:
    """Put the guard before every route of `app`."""
    app.extensions["rxrec_access"] = Access(settings)
    app.config["SECURE"] = settings.base_url.startswith("https://")
    if settings.proxies:
        n = settings.proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=n, x_proto=n, x_host=0)  # type: ignore[method-assign]
    app.before_request(check)
    app.after_request(_told)
    app.context_processor(lambda: {"access": access(), "caller": caller()})


def access() -> Access:
    """The current application's `Access`."""
    found = current_app.extensions["rxrec_access"]
    assert isinstance(found, Access)  # noqa: S101  (for the type checker: `guard` put it there)
    return found


def check() -> Any:
    """None where the request may go on. Raises NotSignedIn, NotAllowed, TooMany; a page leads to the sign-in."""
    here, asked = access(), exchange()
    rule = RULES.get(asked.endpoint or "")
    if asked.url_rule is None:
        return None  # no route: there is nothing behind it
    if not here.on:
        _require_local()
        asked.caller = DEMO
        return None
    if asked.method == "OPTIONS" and getattr(asked.url_rule, "provide_automatic_options", False):
        return None  # Flask answers with the methods, and runs no route
    if rule is not None and rule.anyone:
        return None
    found = _known(here, asked)
    if found is None:
        here.limits.count(f"wrong:{asked.remote_addr}", FAILURES)
        return _to_sign_in()
    here.limits.count(found.id, here.settings.rate_limit)
    asked.caller = found
    _require(found, rule)
    return None


def _known(here: Access, asked: Exchange) -> Caller | None:
    """Who the request proves to come from. What is presented counts alone: a wrong key is not mended by a cookie."""
    presented = asked.headers.get("Authorization")
    if presented is not None:
        return bearer.of_header(here, presented)
    found = bearer.of_session(here)
    if found is not None and asked.method not in SAFE and not _own_request():
        return None
    return found


def _require(found: Caller, rule: Rule | None) -> None:
    if rule is None or found.role not in rule.roles:
        raise NotAllowed("this sign-in has not the role that this needs")


def _to_sign_in() -> Response:
    """A person is led to the sign-in, a program is told that it must prove itself."""
    asks = request.accept_mimetypes
    if request.path.startswith(bearer.PROGRAM_PATHS) or "X-Rxrec" in request.headers or not asks.accept_html:
        raise NotSignedIn("sign in, or present a key or a token")
    return redirect(url_for("signin.form"), 303)  # type: ignore[return-value]


def _own_request() -> bool:
    """Whether a request that changes something comes from a page of ours: another site's form brings the cookie of a
    browser that is old enough, or that sits on a subdomain of ours."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        return site == "same-origin"
    if origin is not None and origin != "null":
        return origin == access().base_url
    return "X-Rxrec" in request.headers or frame.is_own_form()


def _told(response: Response) -> Response:
    if response.status_code == 401:
        response.headers.setdefault("WWW-Authenticate", "Bearer")
    if access().secure:
        response.headers["Strict-Transport-Security"] = HSTS
    return response


# --- the open demonstration ------------------------------------------------------------------------------------------


def _require_local() -> None:
    """Raises NotAllowed unless the request goes from this machine to this machine.

    The name it was sent to must be local too: else a page elsewhere could have its own name point here, and read all.
    """
    host = urlsplit(f"//{request.host}").hostname or ""
    named = is_local(host)
    sent = request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")
    at = sent.getsockname() if sent is not None else ("127.0.0.1",)
    here = isinstance(at, str) or is_local(str(at[0]))  # text: a unix socket
    through = any(name in request.headers for name in FORWARDED)
    if not (named and here and is_local(request.remote_addr or "127.0.0.1")) or through:
        raise NotAllowed("the open demonstration answers this machine only: set RXREC_AUTH=on and make a key")


def is_local(host: str) -> bool:
    if host in LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
