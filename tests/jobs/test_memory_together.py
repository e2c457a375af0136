"""`RXREC_MEMORY` with what else a night may be asked: an update, files that are encrypted, people to be forgotten."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from data.synthetic import write_hospital
from jobs.__main__ import main
from recommender.settings import Settings
from recommender.store import open_store

IN_BLOCKS = {"RXREC_MEMORY": "1TiB"}  # of a few patients, as they are made in the fixture
SEALED = {"RXREC_ENCRYPT_FILES": "on"}


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hospital") / "sample"
    write_hospital(folder, patients=300, seed=5)
    return folder


def rxrec(settings: Settings, workdir: Path, more: dict[str, str], *words: str) -> dict[str, Any]:
    up = {"REDIS_URL": settings.redis_url, "RXREC_WORKDIR": str(workdir), "RXREC_SECRET": str(settings.secret_file)}
    result = CliRunner().invoke(main, ["--json", *words], env={**up, **more}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def served(settings: Settings) -> dict[str, list[bytes]]:
    """What is told of everybody: list, row and chart."""
    with open_store(settings) as store:
        release = store.release(store.current())
        return {
            name: [
                *(getattr(entry, of).tobytes() for of in ("columns", "scores", "row_columns", "row_weights")),
                *(getattr(entry.chart, of).tobytes() for of in ("concept", "days", "value")),
            ]
            for name, entry in store.entries(release)
        }


def nights(settings: Settings, export: Path, folder: Path, more: dict[str, str]) -> list[Any]:
    """What a whole night serves of an export with somebody who was forgotten before; and an update after it, when
    somebody else has a new condition and another is forgotten, too."""
    workdir = folder / "work"
    header, *rows = (export / "conditions.csv").read_text().splitlines(keepends=True)
    place = header.split(",").index("PATIENT")
    new, *others = dict.fromkeys(row.split(",")[place] for row in rows)
    night = ("nightly", "--input", str(shutil.copytree(export, folder / "export")))
    night += ("--gate", "off", "--reports", "none", "--model", "linear")
    rxrec(settings, workdir, more, "forget", others[0], "--yes")
    rxrec(settings, workdir, more, *night)
    found: list[Any] = [served(settings)]
    row = [new if ix == place else word for ix, word in enumerate(rows[-1].split(","))]
    (folder / "export" / "conditions-2026-11-25.csv").write_text(header + ",".join(row))
    rxrec(settings, workdir, more, "forget", others[1], "--yes")
    told = rxrec(settings, workdir, more, *night, "--update")["update"]
    return [*found, {name: told[name] for name in ("changed", "new", "gone")}, served(settings)]


def test_the_same_is_served(settings, export, tmp_path, monkeypatch):
    expected = nights(settings, export, tmp_path / "at once", {})
    assert [len(expected[0]), len(expected[2])] == [299, 298]
    assert expected[1]["changed"] >= 1
    monkeypatch.setattr("recommender.blocks.PATIENTS", 41)
    monkeypatch.setattr("recommender.forgotten.EVENTS", 1_000)
    assert nights(settings, export, tmp_path / "in blocks", IN_BLOCKS) == expected
    assert nights(settings, export, tmp_path / "sealed, in blocks", IN_BLOCKS | SEALED) == expected
