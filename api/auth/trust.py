"""`trust.json` in, whose tokens are believed out: OIDC issuers, SMART backend clients, CDS Hooks clients.

    {"issuers": [{"iss": "https://sso.example.org", "audience": "rxrec", "jwks_url": "https://sso.example.org/jwks",
                  "role_claim": "groups", "roles": {"ward-doctors": "clinician"}}],
     "backend": [{"client_id": "warehouse", "role": "pharmacy", "scopes": ["system/*.rs"],
                  "jwks_file": "warehouse.json"}],
     "cds": [{"iss": "https://ehr.example.org", "jku": "https://ehr.example.org/jwks"}]}

Each names its keys in one of three ways: `jwks` (in place), `jwks_file` (beside this file), `jwks_url` (https; for CDS
clients `jku`). A set from an address is kept for minutes, and asked for anew for a key it lacks, but not for each.
"""

from __future__ import annotations

import os
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import jwt
import msgspec
import orjson
from msgspec import Meta, Struct

from api.auth.rules import ADMIN, CLINICIAN, PHARMACY, REPORT
from recommender.errors import EngineError

KEPT_SECONDS, AGAIN_SECONDS = 600, 30  # a set of keys; the least time between two askings
FETCH_SECONDS = 5
LEAST_RSA = 2048  # bits
MOST_BYTES = 256 * 1024
Text = Annotated[str, Meta(min_length=1, max_length=300)]


class _Keyed(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    jwks: dict[str, Any] | None = None
    jwks_file: str = ""
    jwks_url: str = ""
    jku: str = ""


class Issuer(_Keyed, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An OpenID provider. `roles`: what its `role_claim` says -> a role of ours; any other value is no role."""

    iss: Text
    audience: Text
    roles: dict[str, str]
    role_claim: str = "roles"
    name_claim: str = "name"


class BackendClient(_Keyed, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A program that signs its own assertions (SMART Backend Services)."""

    client_id: Text
    role: Text
    name: str = ""
    scopes: tuple[str, ...] = ("system/*.rs",)


class CdsClient(_Keyed, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A record system that calls our CDS Hooks services; `tenants`: those that may, empty: all of it."""

    iss: Text
    name: str = ""
    tenants: tuple[str, ...] = ()


class Trust(Struct, frozen=True, forbid_unknown_fields=True):
    """All whom we believe."""

    issuers: tuple[Issuer, ...] = ()
    backend: tuple[BackendClient, ...] = ()
    cds: tuple[CdsClient, ...] = ()

    def issuer(self, iss: str) -> Issuer | None:
        return next((one for one in self.issuers if one.iss == iss), None)

    def backend_client(self, client_id: str) -> BackendClient | None:
        return next((one for one in self.backend if one.client_id == client_id), None)

    def cds_client(self, iss: str) -> CdsClient | None:
        return next((one for one in self.cds if one.iss == iss), None)


class TrustFile:
    """Read again when it changed. Without the file nobody's tokens are believed."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._stamp: tuple[int, int] | None = None
        self._trust = Trust()
        self._sets: dict[str, _KeySet] = {}
        self._lock = threading.Lock()

    def current(self) -> Trust:
        """Raises EngineError for a file that cannot be used: then nobody is let in by a token."""
        try:
            about = self.file.stat()
            if (stamp := (about.st_mtime_ns, about.st_size)) != self._stamp:
                self._trust = _checked(msgspec.json.decode(self.file.read_bytes(), type=Trust), self.file)
                self._stamp, self._sets = stamp, {}
        except FileNotFoundError:
            return Trust()
        except OSError as error:
            raise EngineError(f"{self.file} cannot be read: {os.strerror(error.errno or 0)}") from error
        except msgspec.MsgspecError as error:
            raise EngineError(f"{self.file} cannot be used: {error}") from error
        return self._trust

    def key(self, of: _Keyed, kid: str) -> jwt.PyJWK | None:
        """The public key of that name of one whom we believe; None where there is none, or it cannot be had."""
        name = of.jwks_url or of.jku or of.jwks_file or str(id(of))
        with self._lock:
            found = self._sets.setdefault(name, _KeySet(of, self.file.parent))
        return found.key(kid)


class _KeySet:
    def __init__(self, of: _Keyed, folder: Path) -> None:
        self._of, self._folder = of, folder
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at = self._asked_at = float("-inf")
        self._lock = threading.Lock()

    def key(self, kid: str) -> jwt.PyJWK | None:
        with self._lock:
            now = time.monotonic()
            stale = now - self._read_at > KEPT_SECONDS or kid not in self._keys
            if stale and now - self._asked_at > AGAIN_SECONDS:
                self._asked_at = now
                try:
                    self._keys, self._read_at = _keys_of(self._read()), now
                except (OSError, ValueError, urllib.error.URLError):
                    if now - self._read_at > 2 * KEPT_SECONDS:
                        self._keys = {}  # too old to be believed: its owner may have taken a stolen key out
            return self._keys.get(kid)

    def _read(self) -> dict[str, Any]:
        if self._of.jwks is not None:
            return self._of.jwks
        if self._of.jwks_file:
            return dict(orjson.loads((self._folder / self._of.jwks_file).read_bytes()))
        opener = urllib.request.build_opener(_NoRedirect)
        with opener.open(self._of.jwks_url or self._of.jku, timeout=FETCH_SECONDS) as answer:
            return dict(orjson.loads(answer.read(MOST_BYTES)))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The address was allowed, not where it leads."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _keys_of(told: dict[str, Any]) -> dict[str, jwt.PyJWK]:
    """The usable public keys by name: no symmetric one, none for encryption."""
    found = {}
    for one in told.get("keys", []):
        if not isinstance(one, dict) or "d" in one:  # a private key: not one to be believed, but to be replaced
            continue
        if one.get("kty") in ("RSA", "EC") and one.get("use", "sig") == "sig":
            try:
                key = jwt.PyJWK.from_dict(one)
                if one["kty"] == "EC" or key.key.key_size >= LEAST_RSA:
                    found[str(one["kid"])] = key
            except (jwt.PyJWTError, KeyError, ValueError):
                continue
    return found


def _checked(trust: Trust, file: Path) -> Trust:
    roles = {*(role for one in trust.issuers for role in one.roles.values()), *(one.role for one in trust.backend)}
    if not roles <= {CLINICIAN, PHARMACY, REPORT, ADMIN}:
        raise EngineError(f"{file} names a role that there is not: clinician, pharmacy, report and admin are")
    for one in (*trust.issuers, *trust.backend, *trust.cds):
        ways = [one.jwks is not None, bool(one.jwks_file), bool(one.jwks_url), bool(one.jku)]
        if sum(ways) != 1:
            raise EngineError(f"{file}: each client names its keys in one way: jwks, jwks_file, jwks_url or jku")
        if not (one.jwks_url or one.jku or "https://").startswith("https://"):
            raise EngineError(f"{file}: keys are fetched over https only")
    return trust
