"""A signed assertion of a program in, a token for some minutes out: SMART Backend Services' token endpoint.

https://hl7.org/fhir/smart-app-launch/backend-services.html: `private_key_jwt` with RS384 or ES384. The token is random
and stands in Redis with its end, so that taking a client out of `trust.json` ends its tokens too.
"""

from __future__ import annotations

import secrets
from typing import Any

from flask import Blueprint, Response, jsonify, request

from api.auth import bearer, tokens
from api.auth.guard import access

TOKEN_SECONDS = 300
TRIES = 60  # a minute from one address
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
PATH = "/oauth/token"

blueprint = Blueprint("backend", __name__)


@blueprint.post(PATH)
def token() -> Response:
    """RFC 6749's answer or error. What was wrong with an assertion is not said."""
    here = access()
    here.limits.count(f"token:{request.remote_addr}", TRIES)
    form = request.form
    if form.get("grant_type") != "client_credentials":
        return _refused("unsupported_grant_type", 400)
    if form.get("client_assertion_type") != ASSERTION or len(form.get("client_assertion", "")) > bearer.LONGEST:
        return _refused("invalid_request", 400)
    client_id = tokens.of_assertion(here, form.get("client_assertion", ""), here.base_url + PATH)
    client = here.trust.backend_client(client_id) if client_id else None
    if client is None:
        return _refused("invalid_client", 401)
    asked = form.get("scope", "").split()
    granted = [scope for scope in asked if scope in client.scopes]
    if not granted:
        return _refused("invalid_scope", 400)
    made = bearer.TOKEN_PREFIX + secrets.token_urlsafe(32)
    here.shared().keep(bearer.TOKEN, made, {"client": client.client_id}, TOKEN_SECONDS)
    return _answer(
        {"access_token": made, "token_type": "bearer", "expires_in": TOKEN_SECONDS, "scope": " ".join(granted)}, 200
    )


@blueprint.get("/.well-known/smart-configuration")
def configuration() -> Response:
    """Where and how a program gets its token."""
    return _answer(
        {
            "token_endpoint": access().base_url + PATH,
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": list(tokens.SIGNED),
            "scopes_supported": ["system/*.rs"],
            "capabilities": ["client-confidential-asymmetric"],
        },
        200,
    )


def _refused(error: str, status: int) -> Response:
    return _answer({"error": error}, status)


def _answer(said: dict[str, Any], status: int) -> Response:
    response = jsonify(said)
    response.status_code = status
    response.headers["Pragma"] = "no-cache"
    return response
