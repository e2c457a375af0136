"""Environment in, one frozen `Settings` out: the only module that reads environment variables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recommender.errors import EngineError
from recommender.memory import in_bytes
from recommender.pace import LEAST


@dataclass(frozen=True)
class Settings:
    """What differs from one installation to another.

    workdir: where runs and the embedded Redis server's data live.
    redis_url: `redis://`, `rediss://` or `unix://` URL; empty means the embedded server of `workdir`.
    key_prefix: first part of every Redis key, so that one server can hold several installations.
    keep_versions: published versions kept for rollback, the one being served included.
    publish_rate: patients a second that a night sends to the store at most, so that readers are answered meanwhile; 0:
    as fast as it goes.
    rules: a folder of the site's own safety rules, read beside ours (data/safety/README.md); none if empty.
    vocabulary: a folder that `rxrec vocabulary import` wrote, by which rules and allergy records are read; empty: ours.
    answer_memory: MiB of made answers that each server process keeps, to give them again while nothing that they are
    made from has changed; 0: none.
    interaction_cost: by how much a warning moves a suggestion down; 0: not at all (docs/evaluation.md).
    formulary: a CSV of the site's formulary (docs/pharmacists.md); none if empty.
    formulary_first: whether suggestions that are not on the formulary stand below those that are.
    memory: bytes that reading an export and a night may have resident; what cannot keep to it says so before it begins.
    0: no limit but what this machine has (docs/data-engineers.md, "Memory").
    review_conditions: whether the page shows conditions to review (docs/risk.md); off unless asked for.
    auth: "on", or "off": the open demonstration, on loopback only; empty: on once there is a file of keys.
    audit: "on" or "off"; empty: as `auth`. keys, trust, secret: files (docs/security.md); in `workdir` if empty.
    base_url: where callers reach this server, such as https://rxrec.example.org; needed for tokens and behind a proxy.
    rate_limit: requests a minute that one caller may make. idle_minutes: after so long a page asks for sign-in again.
    encrypt_files: whether what nights keep of patients on disk is encrypted under the secret (docs/security.md).
    client_seconds: how long a client may take to send a request, and again to take its answer.
    webhook: where events of monitored patients are sent (docs/monitoring-readings.md); nowhere if empty. quiet_minutes:
    for how long what was told of a patient and a rule is not told again.
    proxies: how many proxies of yours stand in front, whose X-Forwarded-For tells the caller's address; 0: none.
    """

    workdir: Path = Path()
    redis_url: str = ""
    key_prefix: str = "rxrec"
    keep_versions: int = 2
    memory: int = 0
    publish_rate: int = 0
    answer_memory: int = 32
    rules: str = ""
    vocabulary: str = ""
    interaction_cost: float = 0.2
    formulary: str = ""
    formulary_first: bool = False
    review_conditions: bool = False
    auth: str = ""
    audit: str = ""
    keys: str = ""
    trust: str = ""
    secret: str = ""
    base_url: str = ""
    rate_limit: int = 600
    idle_minutes: int = 15
    proxies: int = 0
    encrypt_files: bool = False
    client_seconds: int = 20
    webhook: str = ""
    quiet_minutes: int = 60

    @property
    def secret_file(self) -> Path:
        return self.workdir / (self.secret or "site.key")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read RXREC_WORKDIR, REDIS_URL, RXREC_KEY_PREFIX, RXREC_KEEP_VERSIONS, RXREC_MEMORY ("3GiB"),
        RXREC_PUBLISH_RATE, RXREC_ANSWER_MEMORY, RXREC_RULES, RXREC_VOCABULARY, RXREC_INTERACTION_COST,
        RXREC_FORMULARY, RXREC_FORMULARY_FIRST and RXREC_REVIEW_CONDITIONS ("yes" or "no"), and of who may
        (docs/security.md) RXREC_AUTH, RXREC_AUDIT, RXREC_KEYS, RXREC_TRUST, RXREC_SECRET, RXREC_BASE_URL,
        RXREC_RATE_LIMIT, RXREC_IDLE_MINUTES, RXREC_PROXIES, RXREC_ENCRYPT_FILES and RXREC_CLIENT_SECONDS, and of
        readings that stream in RXREC_WEBHOOK and RXREC_QUIET_MINUTES.

        Raises EngineError on a bad value.
        """
        env = os.environ if environ is None else environ

        if "RXREC_READ_MEMORY" in env:  # it bounded the rows in work alone: to ignore it would break a promise
            raise EngineError(
                "RXREC_READ_MEMORY is no more: set RXREC_MEMORY to what the whole night may take, or unset it"
            )

        def positive(name: str, usual: int, least: int = 1) -> int:
            told = env.get(name, str(usual))
            if not told.isascii() or not told.isdigit() or int(told) < least:
                raise EngineError(f"{name} must be a whole number of {least} or more, not {told!r}")
            return int(told)

        def rate(name: str) -> int:
            told = positive(name, cls.publish_rate, least=0)
            if 0 < told < LEAST:
                raise EngineError(f"{name} must be 0 (no limit) or {LEAST} patients a second or more, not {told}")
            return told

        def weight(name: str, usual: float) -> float:
            told = env.get(name, str(usual))
            if not re.fullmatch(r"\d{1,3}(\.\d{1,6})?", told):
                raise EngineError(f"{name} must be a number of 0 or more, not {told!r}")
            return float(told)

        def yes(name: str) -> bool:
            told = env.get(name, "no")
            if told not in ("yes", "no"):
                raise EngineError(f"{name} must be yes or no, not {told!r}")
            return told == "yes"

        def switch(name: str) -> str:
            told = env.get(name, "")
            if told not in ("", "on", "off"):
                raise EngineError(f"{name} must be on or off, not {told!r}")
            return told

        return cls(
            workdir=Path(env.get("RXREC_WORKDIR", ".")).resolve(),
            redis_url=env.get("REDIS_URL", ""),
            key_prefix=env.get("RXREC_KEY_PREFIX", cls.key_prefix),
            keep_versions=positive("RXREC_KEEP_VERSIONS", cls.keep_versions),
            memory=in_bytes(env["RXREC_MEMORY"]) if env.get("RXREC_MEMORY") else cls.memory,
            publish_rate=rate("RXREC_PUBLISH_RATE"),
            answer_memory=positive("RXREC_ANSWER_MEMORY", cls.answer_memory, least=0),
            rules=env.get("RXREC_RULES", ""),
            vocabulary=env.get("RXREC_VOCABULARY", ""),
            interaction_cost=weight("RXREC_INTERACTION_COST", cls.interaction_cost),
            formulary=env.get("RXREC_FORMULARY", ""),
            formulary_first=yes("RXREC_FORMULARY_FIRST"),
            review_conditions=yes("RXREC_REVIEW_CONDITIONS"),
            auth=switch("RXREC_AUTH"),
            audit=switch("RXREC_AUDIT"),
            keys=env.get("RXREC_KEYS", ""),
            trust=env.get("RXREC_TRUST", ""),
            secret=env.get("RXREC_SECRET", ""),
            base_url=env.get("RXREC_BASE_URL", "").rstrip("/"),
            rate_limit=positive("RXREC_RATE_LIMIT", cls.rate_limit),
            idle_minutes=positive("RXREC_IDLE_MINUTES", cls.idle_minutes),
            proxies=positive("RXREC_PROXIES", 1) if "RXREC_PROXIES" in env else cls.proxies,
            encrypt_files=switch("RXREC_ENCRYPT_FILES") == "on",
            client_seconds=positive("RXREC_CLIENT_SECONDS", cls.client_seconds),
            webhook=env.get("RXREC_WEBHOOK", ""),
            quiet_minutes=positive("RXREC_QUIET_MINUTES", cls.quiet_minutes),
        )
