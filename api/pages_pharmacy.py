"""A search or a list of drugs in, the pharmacist's pages out: what a drug is, what goes with it, and what must not.

Nothing here is about a patient, so what is searched for may stand in an address; a list of drugs to be checked may be
somebody's, so it travels in a body.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request, url_for

from api import frame, told
from api.dates import date_in_words
from api.errors import UnknownTreatment
from api.present_safety import TIERS
from api.reference import reference
from api.serving import serving
from api.words import Words
from recommender import catalogue as engine
from recommender.errors import EngineError
from recommender.formulary import STATUSES, Formulary
from recommender.interaction_check import InteractionCheck, check
from recommender.snapshot import Release
from recommender.vocabulary.text import key

SHOWN = 50  # lines of a page of the browser
BESIDE = 15  # treatments given to the same patients
MOST_DRUGS, LONGEST = 200, 200  # of a list that is checked, and characters of each

drugs = Blueprint("drugs", __name__)
interactions = Blueprint("interactions", __name__)


@dataclass(frozen=True)
class Class:
    name: str
    drugs: int


@drugs.get("/drugs")
def browse() -> Response:
    """Search, the tree of classes, and a page of drugs."""
    try:
        desk = serving().desk()
        catalogue, formulary = reference().catalogue(desk.release), reference().formulary
        asked = {name: request.args.get(name, "").strip() for name in ("q", "class", "status", "here", "route")}
        hits = catalogue.search(asked["q"], _wanted(asked, formulary, desk.release))
        try:
            page = catalogue.page(hits, SHOWN, request.args.get("from", ""), asked.values())
        except engine.BadCursor:  # of the version before: its first page is as good a beginning as any
            page = catalogue.page(hits, SHOWN, "", asked.values())
        return frame.page(
            "drugs.html",
            desk=desk,
            room="drugs",
            asked=asked,
            lines=[told.line(hit.treatment, formulary, hit) for hit in page.hits],
            total=page.total,
            following=page.cursor,
            tree=tree(catalogue),
            formulary=formulary,
            statuses=STATUSES,
            routes=desk.release.given.routes if desk.release.given else (),
        )
    except EngineError as error:
        return frame.state(error)


@drugs.get("/drugs/<path:code>")
def drug(code: str) -> Response:
    """One drug: what it is, its interactions, others of its class, and what its patients had as well."""
    t = frame.words()
    try:
        desk = serving().desk()
        catalogue, formulary = reference().catalogue(desk.release), reference().formulary
        one = catalogue.find(code)
        if one is None or one.kind != "drug":
            raise UnknownTreatment("no drug of that code in the version being served or the vocabulary")
        rules, uses = reference().screen.rules, reference().indications
        whole = told.treatment(desk.release.version, one, formulary, rules, uses)
        others = sorted(
            catalogue.alternatives(one), key=lambda other: (formulary.order_key(other.code), -_about(other))
        )
        beside = told.together(catalogue, one.code, one.name, one.column_ix, ("drug",), BESIDE, formulary)
        return frame.page(
            "drug.html",
            desk=desk,
            room="drugs",
            one=whole,
            interactions=_by_severity(whole.interactions.items),
            others=[told.line(other, formulary) for other in others],
            beside=beside,
            formulary=formulary,
            reviewed=date_in_words(rules.reviewed[1].isoformat(), t),
        )
    except EngineError as error:
        return frame.state(error)


@interactions.get("/interactions")
def form() -> Response:
    """An empty list to fill in. It works while the store is down: no patient and no version is needed."""
    return _checker("")


@interactions.post("/interactions")
def checked() -> Response:
    """Every pair of the list, and what could not be checked."""
    lines = [line.strip()[:LONGEST] for line in request.form.get("drugs", "").replace(";", "\n").splitlines()]
    place, _, name = request.form.get("instead", "").partition(":")
    if place.isdigit() and int(place) < len(lines):
        lines[int(place)] = name
    return _checker("\n".join(line for line in lines if line))


def _checker(text: str) -> Response:
    t = frame.words()
    given = text.splitlines()
    try:
        screen = reference().screen
        found = check(given[:MOST_DRUGS], screen.rules, screen.vocabulary) if given else None
        return frame.page(
            "interactions.html",
            room="interactions",
            text=text,
            found=found,
            sentence=_sentence(found, t) if found else "",
            tiers=TIERS,
            too_many=len(given) > MOST_DRUGS,
            reviewed=date_in_words(screen.rules.reviewed[1].isoformat(), t),
            rules=len(screen.rules.interactions) + len(screen.rules.duplicates),
            again={"action": url_for("pages.interactions.checked"), "fields": [("drugs", text)]} if given else None,
        )
    except EngineError as error:
        return frame.state(error)


def _sentence(found: InteractionCheck, t: Words) -> str:
    """What was found among how many, never more than was checked."""
    n, total = len(found.checked), len(found.checked) + len(found.not_checked)
    date = date_in_words(found.reviewed.isoformat(), t)
    if n < 2:
        return t("check.too_few", n=n, total=total)
    said = t.count("check.found", len(found.findings)) if found.findings else t("check.none")
    whole = t("check.among", said=said, n=n, total=total, date=date)
    return whole + (t.count("check.left", total - n) if total > n else "")


def _wanted(asked: dict[str, str], formulary: Formulary, release: Release) -> Callable[[engine.Treatment], bool]:
    group = key(asked["class"])

    def right(one: engine.Treatment) -> bool:
        return (
            one.kind == "drug"
            and (not group or group in (key(one.group), key(one.chapter)))
            and (not asked["status"] or formulary.status(one.code) == asked["status"])
            and (not asked["here"] or one.on_record)
            and (not asked["route"] or release.by_route(one.code, asked["route"]))
        )

    return right


def tree(catalogue: engine.Catalogue) -> list[tuple[str, list[Class]]]:
    """Therapeutic groups, each with its classes and how many drugs are in them."""
    found: dict[str, dict[str, int]] = {}
    for one in catalogue.treatments:
        if one.kind == "drug" and one.group:
            classes = found.setdefault(one.chapter, {})
            classes[one.group] = classes.get(one.group, 0) + 1
    return [
        (chapter, [Class(name, n) for name, n in sorted(classes.items())]) for chapter, classes in sorted(found.items())
    ]


def _by_severity(items: tuple[Any, ...]) -> list[tuple[str, list[Any]]]:
    return [(tier, held) for tier in TIERS if (held := [one for one in items if one.severity == tier])]


def _about(one: engine.Treatment) -> int:
    return one.patients.about if one.patients else 0
