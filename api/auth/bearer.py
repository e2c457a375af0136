"""What a request presents (a key, a token, a session's cookie) in, the caller whom it proves out; else None.

Which kind of credential it is can be read from its form; each is then checked as that kind alone.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from flask import request

from api.auth import tokens
from api.auth.callers import Caller, of_key
from api.auth.rules import RULES
from recommender.access import parse_key

if TYPE_CHECKING:
    from api.auth.guard import Access

PROGRAM_PATHS = ("/v1/", "/health/", "/fhir/", "/cds-services", "/openapi.json", "/metrics", "/oauth/", "/.well-known/")
CDS_PATH = "/cds-services"
TOKEN_PREFIX = "rxt_"  # noqa: S105  (how ours begin)
SESSION, TOKEN = "session", "token"  # kinds of what is kept
LONGEST = 16 * 1024  # characters of a header
SESSION_HOURS = 12  # after which a session ends, used or not


def of_header(here: Access, header: str) -> Caller | None:
    """The caller of an Authorization header. Raises StoreUnavailable where Redis must be asked and does not answer."""
    scheme, _, presented = header.partition(" ")
    presented = presented.strip()
    if scheme.lower() != "bearer" or not presented or len(presented) > LONGEST:
        return None
    if presented.startswith(TOKEN_PREFIX):
        return _of_our_token(here, presented)
    if presented.count(".") == 2:
        if request.path.startswith(CDS_PATH):
            return tokens.of_cds_client(here, presented, here.base_url + request.path)
        return tokens.of_issuer(here, presented)
    key = here.keys.find(presented)
    return of_key(key, "key") if key else None


def _of_our_token(here: Access, presented: str) -> Caller | None:
    kept = here.shared().kept(TOKEN, presented)
    client = here.trust.backend_client(str(kept["client"])) if kept else None
    return Caller(f"client:{client.client_id}", client.name, client.role, "backend") if client else None


# --- sessions --------------------------------------------------------------------------------------------------------


def cookie_name(here: Access) -> str:
    return "__Host-rxrec_session" if here.secure else "rxrec_session"


def of_session(here: Access) -> Caller | None:
    """The caller of a session's cookie; the session is prolonged by what a person does; its key must still live."""
    held = request.cookies.get(cookie_name(here), "")
    if not held or len(held) > 100:
        return None
    rule = RULES.get(request.endpoint or "")
    prolong = 0 if rule is not None and rule.by_itself else 60 * here.settings.idle_minutes
    kept: dict[str, Any] | None = here.shared().kept(SESSION, held, prolong=prolong)
    if kept is None:
        return None
    if time.time() - float(kept["began"]) > SESSION_HOURS * 3600:
        here.shared().drop(SESSION, held)
        return None
    key = here.keys.by_id(str(kept["key"]))
    return of_key(key, "session") if key else None


def open_session(here: Access, presented: str, secret: str) -> Caller | None:
    """Who the key that was typed belongs to, now with a session, which `secret` names; None for any other text."""
    key = here.keys.find(presented) if parse_key(presented) else here.keys.find("")
    if key is None:
        return None
    here.shared().keep(SESSION, secret, {"key": key.id, "began": time.time()}, 60 * here.settings.idle_minutes)
    return of_key(key, "session")


def close_session(here: Access) -> None:
    held = request.cookies.get(cookie_name(here), "")
    if held:
        here.shared().drop(SESSION, held)
