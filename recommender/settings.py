"""Environment in, one frozen `Settings` out: the only module that reads environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recommender.errors import EngineError


@dataclass(frozen=True)
class Settings:
    """What differs from one installation to another.

    workdir: where runs and the embedded Redis server's data live.
    redis_url: `redis://`, `rediss://` or `unix://` URL; empty means the embedded server of `workdir`.
    key_prefix: first part of every Redis key, so that one server can hold several installations.
    keep_versions: published versions kept for rollback, the one being served included.
    read_memory: MiB that the rows of an export in work may take while it is read (on top come libraries, and people,
    stays and concepts, which are held whole: docs/data-engineers.md).
    """

    workdir: Path = Path()
    redis_url: str = ""
    key_prefix: str = "rxrec"
    keep_versions: int = 2
    read_memory: int = 512

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read RXREC_WORKDIR, REDIS_URL, RXREC_KEY_PREFIX, RXREC_KEEP_VERSIONS and RXREC_READ_MEMORY.

        Raises EngineError on a bad value.
        """
        env = os.environ if environ is None else environ

        def positive(name: str, usual: int) -> int:
            told = env.get(name, str(usual))
            if not told.isascii() or not told.isdigit() or int(told) < 1:
                raise EngineError(f"{name} must be a whole number of 1 or more, not {told!r}")
            return int(told)

        return cls(
            workdir=Path(env.get("RXREC_WORKDIR", ".")).resolve(),
            redis_url=env.get("REDIS_URL", ""),
            key_prefix=env.get("RXREC_KEY_PREFIX", cls.key_prefix),
            keep_versions=positive("RXREC_KEEP_VERSIONS", cls.keep_versions),
            read_memory=positive("RXREC_READ_MEMORY", cls.read_memory),
        )
