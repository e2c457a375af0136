"""A version that a night has published in, the reports that the site asks for out, in `runs/{version}/reports/`.

The version is being served already: whatever fails here is told (exit code 14, `ReportsFailed`) and undoes nothing. One
report that fails does not keep the others from being written.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click

from jobs.console import Console
from jobs.report_common import before_of, desk_of, json_of, site_of
from jobs.report_write import card_folder, drift_folder, history_folder, pharmacy_folder, quality_folder, tallied
from jobs.stages import Events, Run
from recommender.errors import EngineError, InputError
from recommender.offer import Desk
from recommender.reports.card import card_of
from recommender.reports.cohort import cohort_of, ids_of
from recommender.reports.lists import FORMATS, write_lists
from recommender.reports.tally import Tally
from recommender.safety.screen import Screen
from recommender.snapshot import Release
from recommender.store import Store

NAMES = ("card", "quality", "pharmacy", "drift", "history")
WALKING = ("quality", "pharmacy", "drift")  # these look at every patient, each some 2 ms of processor time
MOST_WALKED = 100_000  # patients; of more, these are written where they are asked for by name
FOLDER = "reports"
N = 10  # suggestions a patient, where a list does not say otherwise
SAFE = re.compile(r"\w[\w.-]{0,63}")  # of a list: the name of its folder
TEXTS, NUMBERS = ("conditions", "departments", "formats"), ("age_from", "age_below")
KEYS = (*TEXTS, *NUMBERS, "sex", "ids", "n")


@dataclass(frozen=True)
class Wanted:
    """reports: of NAMES; lists: name -> what a list asks for (docs/reports.md); site: for the card. usual: what is
    usual, and nothing by name."""

    reports: tuple[str, ...]
    lists: Mapping[str, Mapping[str, Any]]
    site: Mapping[str, str] | None
    usual: bool = False

    @classmethod
    def of(cls, reports: str, lists: Path | None, site: Path | None) -> Wanted:
        """Looked at before the night begins. Raises InputError."""
        names = tuple(dict.fromkeys(part.strip() for part in reports.split(",") if part.strip()))
        if unknown := sorted(set(names) - {*NAMES, "none", "usual"}):
            raise InputError(f"{', '.join(unknown)}: none of {', '.join(NAMES)}, none, usual", field="reports")
        words = None if site is None else site_of(site)
        card_of("", {}, site=words)  # a key that is none is found out now
        asked = {} if lists is None else json_of(lists)
        for name, wish in asked.items():
            _check(name, wish, lists.name if lists else "")
        if "usual" in names:
            return cls(NAMES, asked, words, usual=True)
        return cls(tuple(name for name in names if name != "none"), asked, words)


@dataclass(frozen=True)
class Written:
    """By name of a report. folders: where it is; left_out: why there is nothing to tell; failed: the error."""

    folders: dict[str, str]
    left_out: dict[str, str]
    failed: dict[str, str]


def in_words(written: Mapping[str, Mapping[str, str]]) -> str:
    """Of a `Written` as a dictionary."""
    told = [f"reports: {', '.join(written['folders']) or 'none'}"]
    told += [f"no {name}: {why}" for name, why in written["left_out"].items()]
    told += [f"{name} FAILED: {why}" for name, why in written["failed"].items()]
    return "; ".join(told)


def failures_in_words(written: Mapping[str, Mapping[str, str]]) -> str:
    why = "; ".join(f"{name}: {error}" for name, error in written["failed"].items())
    return f"the version is being served, but reports could not be written: {why}. `rxrec report` writes them anew"


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--reports, --lists and --site as `reports`, `lists` and `site`."""
    path = click.Path(path_type=Path, dir_okay=False)
    for option in (
        click.option("--site", type=path, help="What only the site knows, for the model card (docs/reports.md)."),
        click.option("--lists", type=path, help="Lists of patients to write every night: JSON (docs/reports.md)."),
        click.option(
            "--reports",
            default="usual",
            show_default=True,
            help=f"What to write once the version is served, with commas between: {', '.join(NAMES)}; none: nothing; "
            f"usual: all of them, beyond {MOST_WALKED:,} patients only what need not look at each.",
        ),
    ):
        command = option(command)
    return command


def write_reports(console: Console, events: Events, run: Run, store: Store, wanted: Wanted, screen: Screen) -> Written:
    """Everything that is wanted of the version of the run. Raises nothing but what ends a process."""
    written = Written({}, {}, {})
    if not (wanted.reports or wanted.lists):
        return written
    version, out = run.name, run.folder / FOLDER

    @cache
    def desk() -> Desk:
        return desk_of(console.settings, store.release(version), screen)

    @cache
    def tally() -> Tally:
        return tallied(console, store, desk(), N)

    def quality() -> None:
        before = before_of(store, version, None)
        quality_folder(out / "quality", console.settings.workdir, desk(), tally(), before)

    def drift() -> None:
        if before_of(store, version, None) is None:
            written.left_out["drift"] = "this is the first version"
        else:
            drift_folder(out / "drift", console, store, store.release(version))

    every: dict[str, Callable[[], object]] = {
        "card": lambda: card_folder(out / "card", store.release(version), site=wanted.site),
        "quality": quality,
        "pharmacy": lambda: pharmacy_folder(out / "pharmacy", desk(), tally()),
        "drift": drift,
        "history": lambda: history_folder(out / "history", console.settings.workdir, store),
    }
    with run.timed("reports") as cost:
        patients = next(one.patients for one in store.versions() if one.version == version)
        for name in wanted.reports:
            with _told(console, events, written, name, out / name):
                if wanted.usual and name in WALKING and patients > MOST_WALKED:
                    written.left_out[name] = f"it would look at each of {patients:,} patients: ask for it by name"
                else:
                    every[name]()
        for name, wish in wanted.lists.items():
            with _told(console, events, written, f"lists/{name}", out / "lists" / name):
                _list(console, store, desk(), out / "lists" / name, wish)
    run.add("reports", cost)
    return written


def write_card_of_refused(console: Console, events: Events, run: Run, release: Release, wanted: Wanted) -> None:
    """Of a night that the gate refused nothing but the card can be made: the store does not know it."""
    out, written = run.folder / FOLDER / "card", Written({}, {}, {})
    if "card" in wanted.reports:
        with _told(console, events, written, "card", out):
            card_folder(out, release, site=wanted.site)
    if written.failed:
        console.say(in_words(asdict(written)))


@contextmanager
def _told(console: Console, events: Events, written: Written, name: str, folder: Path) -> Iterator[None]:
    console.say(f"report {name} ...")
    try:
        yield
    except EngineError as error:
        written.failed[name] = str(error)
    except Exception as error:  # noqa: BLE001  (a fault of ours in one report must not look like a night that failed)
        last = traceback.extract_tb(error.__traceback__)[-1]  # no message: it could hold what stands on a chart
        written.failed[name] = f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
    else:
        if name not in written.left_out:
            written.folders[name] = str(folder)
    state = "failed" if name in written.failed else "left out" if name in written.left_out else "done"
    events.tell("report", report=name, state=state)


def _list(console: Console, store: Store, desk: Desk, out: Path, wish: Mapping[str, Any]) -> None:
    cohort = cohort_of(
        desk.release,
        conditions=wish.get("conditions", ()),
        departments=wish.get("departments", ()),
        age_from=wish.get("age_from"),
        age_below=wish.get("age_below"),
        sex=wish.get("sex", ""),
        ids=ids_of(Path(wish["ids"])) if "ids" in wish else None,
    )
    formats, n = wish.get("formats", ("html", "pdf")), wish.get("n", N)
    with console.progress("patients", None, "patients") as progress:
        write_lists(out, store, desk, cohort, formats, n, formulary=desk.formulary(), progress=progress)


def _check(name: str, wish: Any, file: str) -> None:
    """Raises InputError for a wish that no night could grant; what a list of ids holds is known at night only."""

    def wrong(why: str) -> InputError:
        return InputError(f"the list {name!r} {why}", file=file)

    if not SAFE.fullmatch(name):
        raise wrong("must be named with letters, digits, '.', '_' and '-'")
    if not isinstance(wish, dict) or not wish.keys() <= set(KEYS):
        raise wrong(f"must be an object of no other keys than {', '.join(KEYS)}")
    for key in TEXTS:
        if not isinstance(wish.get(key, []), list) or not all(isinstance(one, str) for one in wish.get(key, ())):
            raise wrong(f"must have a list of texts as {key!r}")
    for key in NUMBERS:
        if not isinstance(wish.get(key, 0), (int, float)):
            raise wrong(f"must have a number as {key!r}")
    if not set(wish.get("formats", ())) <= set(FORMATS):
        raise wrong(f"must have formats of {', '.join(FORMATS)}")
    if wish.get("sex", "F") not in ("F", "M") or not isinstance(wish.get("ids", ""), str):
        raise wrong("must have 'F' or 'M' as 'sex', and the name of a CSV as 'ids'")
    if not isinstance(wish.get("n", N), int) or not 1 <= wish.get("n", N) <= 50:
        raise wrong("must have a number from 1 to 50 as 'n'")
