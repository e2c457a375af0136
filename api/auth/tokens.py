"""A JSON Web Token in, the caller whom it proves out; None for any other, without a word on what was wrong with it.

Which algorithm may sign is ours to say, never the token's: `none` and every symmetric one are out for all, so that a
public key can never be taken for a shared secret. A token's `jti` is believed once where it stands for one call.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from api.auth.callers import Caller

if TYPE_CHECKING:
    from api.auth.guard import Access

ISSUERS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
SIGNED = ("RS384", "ES384")  # what SMART and CDS Hooks ask for
LEEWAY = 30  # seconds that two clocks may differ
LONGEST_LIFE = 300  # seconds of an assertion, and of a token of one call
LONGEST_CLAIM = 300
# what a token of an unknown signer is checked with, so that it takes as long as one of a signer whom we know; any odd
# number is a modulus to check with
_NOBODYS_RSA = rsa.RSAPublicNumbers(65537, int.from_bytes(os.urandom(256)) | 1 | 1 << 2047).public_key()
_NOBODYS_EC = {
    f"ES{bits}": ec.generate_private_key(curve).public_key()
    for bits, curve in ((256, ec.SECP256R1()), (384, ec.SECP384R1()), (512, ec.SECP521R1()))
}


def of_issuer(here: Access, token: str) -> Caller | None:
    """An access token of an OpenID provider that we believe, for us as its audience, with a role that we know."""
    issuer = here.trust.issuer(_claimed(token, "iss"))
    claims = _verified(here, token, issuer, ISSUERS, issuer.audience if issuer else "", ("exp", "iat", "sub"))
    if claims is None or issuer is None:
        return None
    said = claims.get(issuer.role_claim)
    named = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    roles = {issuer.roles[one] for one in named if isinstance(one, str) and one in issuer.roles}
    role = next((one for one in ("clinician", "pharmacy", "report", "admin") if one in roles), "")
    name = str(claims.get(issuer.name_claim) or claims["sub"])[:100]
    return Caller(f"token:{issuer.iss}|{claims['sub']}"[:LONGEST_CLAIM], _plain(name), role, "token")


def of_cds_client(here: Access, token: str, url: str) -> Caller | None:
    """The token of one call to a CDS Hooks service: for this very address, once. Raises StoreUnavailable."""
    client = here.trust.cds_client(_claimed(token, "iss"))
    claims = _verified(here, token, client, SIGNED, url, ("exp", "iat", "iss", "aud", "jti"), once="cds")
    if claims is None or client is None:
        return None
    jku = jwt.get_unverified_header(token).get("jku")
    if jku is not None and jku != (client.jku or client.jwks_url):
        return None
    if client.tenants and claims.get("tenant") not in client.tenants:
        return None
    return Caller(f"cds:{client.iss}"[:LONGEST_CLAIM], _plain(client.name or client.iss), "clinician", "cds")


def of_assertion(here: Access, token: str, url: str) -> str:
    """The id of the backend client that signed this for our token endpoint; empty for any other."""
    client = here.trust.backend_client(_claimed(token, "iss"))
    claims = _verified(here, token, client, SIGNED, url, ("exp", "iss", "sub", "aud", "jti"), once="backend")
    if claims is None or client is None or claims["sub"] != client.client_id:
        return ""
    return client.client_id


def _claimed(token: str, claim: str) -> str:
    """What a token says of itself, to know whose key to check it with; believed by nobody yet."""
    try:
        said = jwt.decode(token, options={"verify_signature": False}).get(claim)
    except (jwt.PyJWTError, ValueError, RecursionError):
        return ""
    return said if isinstance(said, str) else ""


def _verified(
    here: Access,
    token: str,
    of: Any,
    algorithms: tuple[str, ...],
    audience: str,
    claims: tuple[str, ...],
    once: str = "",
) -> dict[str, Any] | None:
    """The claims of a token that `of` signed; None for any other. An unknown signer costs a check, too."""
    try:
        header = jwt.get_unverified_header(token)
        kid, algorithm = header.get("kid"), header.get("alg")
        found = here.trust_file.key(of, kid) if of is not None and isinstance(kid, str) else None
        if found is None or algorithm not in algorithms or "crit" in header:
            if algorithm in algorithms:
                jwt.decode(token, _NOBODYS_EC.get(algorithm, _NOBODYS_RSA), algorithms=[algorithm])
            return None
        told = jwt.decode(
            token,
            found.key,
            algorithms=[algorithm],
            audience=audience,
            leeway=LEEWAY,
            options={"require": list(claims), "verify_iat": True, "verify_nbf": True, "strict_aud": False},
        )
        if told.get("iss") != (getattr(of, "iss", "") or getattr(of, "client_id", "")):
            return None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return None
    if once:
        life = int(told["exp"]) - int(time.time())
        jti = told["jti"]
        if life > LONGEST_LIFE + LEEWAY or not isinstance(jti, str) or not 1 <= len(jti) <= LONGEST_CLAIM:
            return None
        if not here.shared().first_time(f"{once}\0{told['iss']}\0{jti}", life + 2 * LEEWAY):
            return None
    return dict(told)


def _plain(name: str) -> str:
    return "".join(one if one.isprintable() else " " for one in name)[:100]
