"""What the tests of who may share: keys of every role, an OpenID provider, a backend client, a record system."""

from __future__ import annotations

import base64
import json
import time
import uuid
from pathlib import Path
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from recommender.access import ROLES, KeyFile

BASE = "https://rxrec.example.org"
ISS, EHR, CLIENT = "https://sso.example.org", "https://ehr.example.org", "warehouse"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP384R1())
STRANGER = ec.generate_private_key(ec.SECP384R1())
GROUPS = {"doctors": "clinician", "chemists": "pharmacy", "planners": "report", "operators": "admin"}
GROUP_OF = {role: group for group, role in GROUPS.items()}
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def jwks() -> dict[str, Any]:
    one = {**json.loads(ECAlgorithm.to_jwk(EC_KEY.public_key())), "kid": "ec", "use": "sig"}
    two = {**json.loads(RSAAlgorithm.to_jwk(RSA_KEY.public_key())), "kid": "rsa", "use": "sig"}
    symmetric = {"kty": "oct", "kid": "oct", "k": base64.urlsafe_b64encode(b"k" * 48).decode()}
    return {"keys": [one, two, symmetric, {"kty": "what"}, "nonsense"]}


def trust(folder: Path) -> None:
    told = {
        "issuers": [{"iss": ISS, "audience": "rxrec", "roles": GROUPS, "role_claim": "groups", "jwks": jwks()}],
        "backend": [{"client_id": CLIENT, "role": "pharmacy", "name": "The warehouse", "jwks_file": "jwks.json"}],
        "cds": [{"iss": EHR, "name": "The record system", "jwks_file": "jwks.json", "tenants": ["ward"]}],
    }
    (folder / "trust.json").write_bytes(orjson.dumps(told))
    (folder / "jwks.json").write_bytes(orjson.dumps(jwks()))


def keys(folder: Path) -> dict[str, str]:
    """role -> the text of a key."""
    file = KeyFile(folder / "keys.json")
    return {role: file.make(f"Test {role}", role, 30)[1] for role in ROLES}


def signed(claims: dict[str, Any], key: Any = EC_KEY, alg: str = "ES384", kid: str = "ec", **header: Any) -> str:
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, key, alg, headers={"kid": kid, **header})


def of_person(role: str, key: Any = EC_KEY, alg: str = "ES384", kid: str = "ec", **changes: Any) -> str:
    """An OpenID provider's access token."""
    now = int(time.time())
    claims = {"iss": ISS, "sub": "u1", "aud": "rxrec", "iat": now, "exp": now + 600, "groups": [GROUP_OF[role]]}
    return signed({**claims, **changes}, key, alg, kid)


def of_ehr(
    path: str, key: Any = EC_KEY, alg: str = "ES384", kid: str = "ec", header: Any = None, **changes: Any
) -> str:
    """A CDS Hooks client's token of one call."""
    now = int(time.time())
    claims = {"iss": EHR, "aud": BASE + path, "iat": now, "exp": now + 120, "jti": str(uuid.uuid4()), "tenant": "ward"}
    return signed({**claims, **changes}, key, alg, kid, **(header or {}))


def assertion(key: Any = RSA_KEY, alg: str = "RS384", kid: str = "rsa", **changes: Any) -> dict[str, str]:
    """The form that a backend client sends to the token endpoint."""
    claims = {"iss": CLIENT, "sub": CLIENT, "aud": f"{BASE}/oauth/token", "exp": int(time.time()) + 240}
    token = signed({**claims, "jti": str(uuid.uuid4()), **changes}, key, alg, kid)
    form = {"grant_type": "client_credentials", "scope": "system/*.rs"}
    return {**form, "client_assertion_type": ASSERTION, "client_assertion": token}


def unsigned(token: str) -> str:
    """The same claims with alg=none and no signature."""
    _, payload, _ = token.split(".")
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT","kid":"ec"}').rstrip(b"=").decode()
    return f"{header}.{payload}."


def symmetric(token: str) -> str:
    """The same claims, signed with our own public key as if it were a shared secret."""
    claims = jwt.decode(token, options={"verify_signature": False})
    pem = EC_KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    header = base64.urlsafe_b64encode(orjson.dumps({"alg": "HS384", "typ": "JWT", "kid": "ec"})).rstrip(b"=")
    body = header + b"." + base64.urlsafe_b64encode(orjson.dumps(claims)).rstrip(b"=")
    import hashlib
    import hmac

    mac = hmac.digest(pem, body, hashlib.sha384)
    return (body + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


def forged(token: str) -> str:
    """Other claims under the signature of these."""
    head, payload, mac = token.split(".")
    claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    claims["sub"] = "somebody-else"
    return f"{head}.{base64.urlsafe_b64encode(orjson.dumps(claims)).rstrip(b'=').decode()}.{mac}"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
