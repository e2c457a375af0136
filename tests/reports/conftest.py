"""A published synthetic hospital for all tests of reports, and the means to ask the API the same questions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient

from api import create_app
from data.synthetic import write_hospital
from jobs.__main__ import main
from recommender.offer import Desk
from recommender.safety.indications import Indications
from recommender.safety.screen import Screen
from recommender.settings import Settings
from recommender.snapshot import Entry
from recommender.store import Store, open_store


@dataclass(frozen=True)
class Hospital:
    """A published version of a synthetic hospital, and everything one may ask of it."""

    settings: Settings
    store: Store
    desk: Desk
    entries: dict[str, Entry]
    client: FlaskClient

    def rxrec(self, *words: Any, **environment: str) -> Result:
        env = {"REDIS_URL": self.settings.redis_url, "RXREC_WORKDIR": str(self.settings.workdir), **environment}
        return CliRunner().invoke(main, [str(word) for word in words], env=env)

    def asked(self, *words: Any, **environment: str) -> dict[str, Any]:
        """The JSON of a command that must succeed."""
        result = self.rxrec("--json", *words, **environment)
        assert result.exit_code == 0, result.output
        answer = json.loads(result.stdout)
        assert isinstance(answer, dict)
        return answer


@pytest.fixture(scope="session")
def hospital(redis_server: Any, tmp_path_factory: Any) -> Iterator[Hospital]:
    """Two nights of 400 synthetic patients each; the second is served."""
    url = redis_server.url[:-1] + "7"
    workdir: Path = tmp_path_factory.mktemp("reports")
    settings = Settings(workdir=workdir, redis_url=url)
    for seed in (3, 4):
        write_hospital(workdir / f"sample{seed}", patients=400, seed=seed)
        words = ["nightly", "--source", "synthea", "--input", str(workdir / f"sample{seed}"), "--gate", "warn"]
        environment = {"REDIS_URL": url, "RXREC_WORKDIR": str(workdir)}
        result = CliRunner().invoke(main, words, env=environment, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    screen = Screen.load("", "")
    indications = Indications.load(vocabulary=screen.vocabulary, conditions=screen.conditions)
    with open_store(settings) as store:
        desk = Desk(store.release(store.current()), screen, indications, settings.interaction_cost)
        client = create_app(settings, store).test_client()
        yield Hospital(settings, store, desk, dict(store.entries(desk.release)), client)


@pytest.fixture
def read_lines() -> Callable[[Path], list[dict[str, Any]]]:
    return lambda path: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
