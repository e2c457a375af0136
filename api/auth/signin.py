"""A key in a form in, a session's cookie out; and the way out of it.

The session is a random name in a cookie that no script can read and no other site can send; what it stands for is in
Redis, with an end. A new name at every sign-in, so that none can be laid in a browser beforehand.
"""

from __future__ import annotations

import secrets

from flask import Blueprint, redirect, request, url_for
from werkzeug.wrappers import Response

from api import frame
from api.auth import bearer
from api.auth.guard import Access, access
from api.auth.rules import HOME
from api.errors import BadParameter, TooMany
from recommender.errors import EngineError

TRIES = 10  # a minute from one address
LONGEST_KEY = 200

blueprint = Blueprint("signin", __name__)


@blueprint.get("/sign-in")
def form() -> Response:
    """The form; where nobody signs in, the first page."""
    if not access().on:
        return redirect(url_for("pages.start"), 303)
    return frame.page("signin.html", state="", minutes=access().settings.idle_minutes)


@blueprint.post("/sign-in")
def enter() -> Response:
    """The first page with a session, or the form again without a word on what was wrong."""
    here = access()
    if not here.on:
        return redirect(url_for("pages.start"), 303)
    try:
        here.limits.count(f"sign-in:{request.remote_addr}", TRIES)
        frame.require_own_form()
        secret = secrets.token_urlsafe(32)
        presented = request.form.get("key", "").strip()[:LONGEST_KEY]
        opened = bearer.open_session(here, presented, secret)
        if opened is None:
            return _again("wrong", 401)
    except TooMany:
        return _again("too-many", 429)
    except BadParameter:
        return _again("again", 400)
    except EngineError as error:
        return frame.state(error)
    response = redirect(url_for(HOME[opened.role]), 303)
    _cookie(here, response, secret)
    return response


@blueprint.post("/sign-out")
def leave() -> Response:
    """The session's end; the form again."""
    here = access()
    if here.on:
        try:
            frame.require_own_form()
        except BadParameter:
            return _again("again", 400)
        try:
            bearer.close_session(here)
        except EngineError as error:  # the cookie goes all the same, but the session could still be used
            return frame.state(error)
    response = redirect(url_for("signin.form"), 303)
    response.delete_cookie(bearer.cookie_name(here), path="/", secure=here.secure, httponly=True, samesite="Strict")
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


def _again(state: str, status: int) -> Response:
    return frame.page("signin.html", status=status, state=state, minutes=access().settings.idle_minutes)


def _cookie(here: Access, response: Response, secret: str) -> None:
    response.set_cookie(
        bearer.cookie_name(here), secret, path="/", secure=here.secure, httponly=True, samesite="Strict"
    )
