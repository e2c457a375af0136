"""A template and its values in, the whole page out: in the reader's language, with what is served and the form's token.

The language is what the reader chose (a cookie), else what the browser asks for, else English. The token is the other
half of a double submit: a form of ours carries what only a page of ours could read from the cookie.
"""

from __future__ import annotations

import hmac
import secrets
from datetime import UTC, datetime
from typing import Any

from flask import Response, current_app, g, make_response, render_template, request
from werkzeug.exceptions import RequestEntityTooLarge

from api.answers import safety
from api.auth.callers import Caller
from api.auth.rules import may
from api.dates import age_in_words, date_in_words
from api.errors import RETRY_AFTER_SECONDS, BadParameter, kind_of
from api.exchange import caller, exchange
from api.observe import log_failure
from api.present import quality_in_words
from api.words import CATALOGUES, Words
from recommender.errors import EngineError
from recommender.offer import Desk
from recommender.support import tens_told

LANGUAGE_COOKIE, TOKEN_COOKIE = "rxrec_language", "rxrec_form"
LANGUAGE_SECONDS = 400 * 86_400  # the longest that browsers keep a cookie
TOKEN_FIELD = "token"  # noqa: S105  (the name of a field)
TOKEN_BYTES = 16
ROOMS = (
    ("patients", "pages.start"),
    ("drugs", "pages.drugs.browse"),
    ("interactions", "pages.interactions.form"),
    ("model", "pages.model.show"),
)  # what stands in the head of every page, and where it leads


def words() -> Words:
    """The words of this request's language."""
    if "words" not in g:
        chosen = _asked_language() or request.cookies.get(LANGUAGE_COOKIE, "")
        if chosen not in CATALOGUES:
            chosen = request.accept_languages.best_match(list(CATALOGUES), default="en") or "en"
        g.words = Words(chosen)
    found = g.words
    assert isinstance(found, Words)  # noqa: S101  (for the type checker: put there above)
    return found


def _asked_language() -> str:
    """What the reader chose just now; nothing where the form is too large to be read, which a page must still tell."""
    try:
        return request.values.get("language", "")
    except RequestEntityTooLarge:
        return ""


def page(template: str, *, status: int = 200, desk: Desk | None = None, **values: Any) -> Response:
    """The page, and the cookies that it needs."""
    t = words()
    if desk is not None:
        values |= served(desk, t)
    values = {"room": "", "again": None, **values}
    html = render_template(template, t=t, rooms=rooms_of(caller()), languages=list(CATALOGUES), token=token(), **values)
    response = make_response(html, status)
    response.vary.update(("Accept-Language", "Cookie"))
    keep = {"httponly": True, "samesite": "Strict", "secure": request.is_secure or current_app.config["SECURE"]}
    if _asked_language() == t.language:
        response.set_cookie(LANGUAGE_COOKIE, t.language, max_age=LANGUAGE_SECONDS, **keep)  # type: ignore[arg-type]
    if request.cookies.get(TOKEN_COOKIE) != token():
        response.set_cookie(TOKEN_COOKIE, token(), **keep)  # type: ignore[arg-type]
    return response


def rooms_of(who: Caller) -> list[tuple[str, str]]:
    """The rooms that one may enter; in the open demonstration, where nobody signs in, all."""
    return [room for room in ROOMS if who.how == "demo" or may(who.role, room[1])]


def state(error: EngineError, patient_id: str = "", **values: Any) -> Response:
    """The page's error state. `patient_id` goes into the form that tries again, and nowhere else."""
    kind = kind_of(error)
    if kind.status == 500:
        log_failure(error)
    shown = {"state": kind.slug, "patient_id": patient_id, "request_id": exchange().id, **values}
    response = page("state.html", status=kind.status, **shown)
    if kind.status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


# --- forms that change something -------------------------------------------------------------------------------------


def token() -> str:
    """This browser's token: a new one where it has none, or none of ours."""
    if "token" not in g:
        held = request.cookies.get(TOKEN_COOKIE, "")
        g.token = held if len(held) == 2 * TOKEN_BYTES and held.isalnum() else secrets.token_hex(TOKEN_BYTES)
    return str(g.token)


def require_own_form() -> None:
    """Raises BadParameter unless the form came from a page of ours.

    The cookie is SameSite=Strict, so another site's form comes without it, and no other site can read it to fill in the
    field. Where the browser says where a request comes from (it does over https), that must be here as well.
    """
    if not is_own_form() or request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise BadParameter(TOKEN_FIELD, "the form was not sent by a page of this server: open the patient again")


def is_own_form() -> bool:
    """Whether the form carries what stands in this browser's cookie."""
    held, sent = request.cookies.get(TOKEN_COOKIE, ""), request.form.get(TOKEN_FIELD, "")
    return bool(held) and hmac.compare_digest(held.encode(), sent.encode())


# --- what every page says of the version being served ----------------------------------------------------------------


def served(desk: Desk, t: Words) -> dict[str, Any]:
    """`release`, and `served`: it in words."""
    return {"release": desk.release, "served": _in_words(desk, t)}


def _in_words(desk: Desk, t: Words) -> dict[str, Any]:
    release, manifest = desk.release, desk.release.manifest
    counts, as_of = manifest.get("counts", {}), str(manifest.get("as_of", ""))
    synthetic = manifest.get("synthetic") is True
    model = manifest.get("model", {})
    return {
        "version": release.version,
        "as_of": date_in_words(as_of, t),
        "as_of_iso": as_of,
        "age": age_in_words(as_of, datetime.now(UTC), t),
        "created": date_in_words(str(manifest.get("created", "")), t),
        "created_iso": str(manifest.get("created", "")),
        "synthetic": synthetic,
        "examples": list(manifest.get("example_patients", ()))[:8] if synthetic else [],
        "patients": tens_told(counts["patients"]) if "patients" in counts else "",
        "suggestable": f"{len(release.index.targets):,}",
        "safety": safety(desk),
        "rules_reviewed": date_in_words(safety(desk).rules_reviewed, t),
        "model": model.get("description") or model.get("name") or release.model.name,
        "quality": quality_in_words(manifest, t),
    }
