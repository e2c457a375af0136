"""A cohort, a desk and an open store in, a folder with a page a patient in the formats asked for out."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recommender.formulary import Formulary
from recommender.offer import Desk
from recommender.records import THERAPIES
from recommender.reports.cohort import Cohort, members
from recommender.reports.folder import new_folder
from recommender.reports.pages_html import HtmlWriter
from recommender.reports.pages_pdf import PdfWriter
from recommender.reports.patient_page import page_of
from recommender.reports.tables import WRITERS, About, Writer
from recommender.store import Store

FORMATS = ("html", "pdf", "csv", "xlsx", "ndjson")


@dataclass(frozen=True)
class Listed:
    """How many patients a list is of. unknown: places, from 1, of ids that the version does not know; not_drawn:
    characters that the PDF's font lacks."""

    patients: int
    with_suggestions: int
    with_withheld: int
    with_warnings: int
    unknown: tuple[int, ...]
    not_drawn: int


def write_lists(
    out: Path,
    store: Store,
    desk: Desk,
    cohort: Cohort,
    formats: Sequence[str],
    n: int,
    *,
    kinds: Collection[str] = THERAPIES,
    formulary: Formulary | None = None,
    font: Path | None = None,
    now: datetime | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Listed:
    """Memory does not grow with the number of patients. The folder appears when it is whole.

    Raises EngineError where `out` holds something, UnknownVersion where the version is retired meanwhile.
    """
    now = now or datetime.now(UTC)
    about = about_of(desk, cohort, now)
    unknown: list[int] = []
    patients, suggested, withheld, warned = 0, 0, 0, 0
    with new_folder(out) as folder, ExitStack() as closing:
        writers = [_writer(name, folder, about, font) for name in dict.fromkeys(formats)]
        for writer in writers:
            closing.callback(writer.close)
        for patient_id, entry in members(store, desk.release, cohort, unknown):
            page = page_of(desk, patient_id, entry, n, kinds=kinds, formulary=formulary, now=now)
            for writer in writers:
                writer.add(page)
            patients += 1
            suggested += bool(page.suggestions)
            withheld += bool(page.withheld)
            warned += any(one.warnings for one in page.suggestions)
            progress(1)
        closing.close()
        not_drawn = sum(writer.unknown for writer in writers if isinstance(writer, PdfWriter))
        listed = Listed(patients, suggested, withheld, warned, tuple(unknown), not_drawn)
        told: dict[str, Any] = {"about": asdict(about), "formats": list(formats), "n": n, **asdict(listed)}
        (folder / "list.json").write_text(json.dumps(told, indent=2), encoding="utf-8")
    return listed


def about_of(desk: Desk, cohort: Cohort, now: datetime) -> About:
    manifest, rules = desk.release.manifest, desk.screen.rules
    return About(
        version=desk.release.version,
        created=str(manifest.get("created", "")),
        data_as_of=str(manifest.get("as_of", ""))[:10],
        synthetic=manifest.get("synthetic") is True,
        rules=f"rules {rules.version} reviewed up to {rules.reviewed[1]}",
        cohort=cohort.words,
        printed=f"{now:%Y-%m-%d %H:%M} UTC",
    )


def _writer(name: str, folder: Path, about: About, font: Path | None) -> Writer:
    if name == "html":
        return HtmlWriter(folder, about)
    if name == "pdf":
        return PdfWriter(folder, about, font=font)
    return WRITERS[name](folder / f"patients.{name}", about)
