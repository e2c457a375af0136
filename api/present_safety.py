"""An answer's warnings, gaps and labels in, what the page says of safety out: one entry a rule, one a missing value.

The engine's own sentences (what a rule says, what would make something checkable) are English. `phrases` says the
short ones in the reader's language; a rule's message is shown as it was reviewed, and marked as English.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from api.answers import Answer
from api.dates import date_in_words
from api.phrases import said
from api.words import Words
from recommender.given import NOT_KNOWN
from recommender.offered import Alternative, CurrentDrug, Evidence, Item, NotChecked, Warned, WithheldItem

MOST_ROUTES = 3  # beside a suggestion; the drug's own page has all
TIERS = ("contraindicated", "serious", "caution")
ANY = re.compile(r" \((any|any kind)\)$")  # a group's name closes so where it holds others: noise beside a suggestion


@dataclass(frozen=True)
class Held:
    """A rule that holds, said once. `because`: what of the chart makes it hold."""

    severity: str
    word: str
    message: str
    management: str
    because: tuple[str, ...]
    source: str
    reviewed: str
    rule: str


@dataclass(frozen=True)
class Gap:
    """Something that was not checked, what would make it checkable, and for which suggestions it matters (all: ())."""

    about: str
    mend: str
    of: tuple[str, ...]


@dataclass(frozen=True)
class ItemSafety:
    """What is said of one suggestion. state: "warned", "clear" (checked, and nothing was found), "partly" (nothing was
    found, but not everything could be checked), "unknown" (a drug that nobody knows) or "no_drug"."""

    state: str
    severity: str
    warnings: tuple[Held, ...]
    gaps: tuple[Gap, ...]
    labelled: str
    formulary: str
    evidence: str
    rules: tuple[str, ...]
    overridable: bool


@dataclass(frozen=True)
class Therapy:
    """What the patient takes. `counts`: severity -> how many rules hold; `sentence` says what was checked."""

    drugs: tuple[tuple[CurrentDrug, tuple[Held, ...]], ...]
    counts: tuple[tuple[str, str], ...]
    sentence: str
    whole: bool


@dataclass(frozen=True)
class Withheld:
    item: WithheldItem
    name: str
    kind: str
    warnings: tuple[Held, ...]
    alternatives: tuple[tuple[str, str, str], ...]  # name, code, a note about it
    rules: tuple[str, ...]


def warnings(found: Sequence[Warned], t: Words) -> tuple[Held, ...]:
    """Strictest first, each rule once with all that makes it hold."""
    by_rule: dict[str, list[Warned]] = {}
    for one in found:
        by_rule.setdefault(one.rule, []).append(one)
    return tuple(
        Held(
            severity=several[0].severity,
            word=t(f"severity.{several[0].severity}"),
            message=several[0].message,
            management=several[0].management,
            because=tuple(dict.fromkeys(said(one.because, t) for one in several if one.because)),
            source=several[0].source,
            reviewed=date_in_words(several[0].reviewed, t),
            rule=rule,
        )
        for rule, several in sorted(by_rule.items(), key=lambda pair: TIERS.index(pair[1][0].severity))
    )


def item_safety(item: Item, t: Words) -> ItemSafety:
    found = warnings(item.warnings, t)
    gaps = tuple(_gap(gap, t) for gap in item.not_checked)
    if item.kind != "drug":
        state = "no_drug"
    elif item.outcome == "not_checked":
        state = "unknown"
    elif found:
        state = "warned"
    else:
        state = "partly" if gaps else "clear"
    severity = found[0].severity if found else ""
    return ItemSafety(
        state=state,
        severity=severity,
        warnings=found,
        gaps=() if state in ("no_drug", "unknown") else gaps,
        labelled=_labelled(item, t),
        formulary="" if item.formulary == "unknown" else t(f"formulary.{item.formulary}"),
        evidence=_evidence(item, t),
        rules=tuple(one.rule for one in found),
        overridable=severity in ("serious", "contraindicated"),
    )


def gaps_of(answer: Answer, t: Words) -> tuple[Gap, ...]:
    """All that could not be checked: of the chart first, then of the drugs on the list, each with whom it concerns."""
    found = {(gap.about, gap.mend): [] for gap in answer.not_checked}  # type: dict[tuple[str, str], list[str]]
    for item in answer.items:
        if item.kind == "drug":
            for gap in item.not_checked:
                found.setdefault((gap.about, gap.mend), []).append(item.name)
    by_about: dict[str, Gap] = {}
    for (about, mend), names in found.items():
        known = by_about.get(about)
        before = known.of if known else ()
        by_about[about] = Gap(said(about, t), said(mend, t), tuple(dict.fromkeys((*before, *names))))
    return tuple(by_about.values())


def therapy(answer: Answer, t: Words, reviewed: str) -> Therapy:
    drugs = tuple((drug, warnings(drug.warnings, t)) for drug in answer.current_therapy)
    counted = Counter(one.severity for _, several in drugs for one in several)
    counts = tuple((tier, t.count(f"therapy.{tier}", counted[tier])) for tier in TIERS if counted[tier])
    understood, total = answer.safety.drugs_understood, answer.safety.drugs_on_chart
    if not total:
        key = "therapy.none_taken"
    elif counted:
        key = "therapy.found"
    else:
        key = "therapy.nothing_found" if understood else "therapy.none_checked"
    return Therapy(drugs, counts, t(key, n=understood, total=total, date=reviewed), understood == total)


def withheld(answer: Answer, t: Words) -> tuple[Withheld, ...]:
    return tuple(
        Withheld(
            item=one,
            name=one.name or one.code,
            kind=t.or_else(f"kind.{one.kind}", one.kind),
            warnings=warnings(one.warnings, t),
            alternatives=tuple((other.name, other.code, _note(other, t)) for other in one.alternatives),
            rules=tuple(dict.fromkeys(warned.rule for warned in one.warnings)),
        )
        for one in answer.withheld
    )


def _note(other: Alternative, t: Words) -> str:
    """What stands beside an alternative: nothing serious does, or it would be none."""
    notes = []
    if not other.same_class and other.labelled_for:
        names = t("list.and").join(ANY.sub("", name) for name in other.labelled_for)
        notes.append(t("alternative.other_class", names=names))
    if other.formulary in ("restricted", "non_formulary"):
        notes.append(t(f"formulary.{other.formulary}"))
    cautions = len({one.rule for one in other.warnings})
    if cautions:
        notes.append(t.count("alternative.cautions", cautions))
    if other.not_checked:
        notes.append(t.count("alternative.gaps", len(other.not_checked)))
    return t("list.comma").join(notes)


def _gap(gap: NotChecked, t: Words) -> Gap:
    return Gap(said(gap.about, t), said(gap.mend, t), ())


def _labelled(item: Item, t: Words) -> str:
    if item.kind != "drug":
        return ""
    if item.labelled_for is None:
        return t("labelled.unknown")
    if not item.labelled_for:
        return t("labelled.nothing")
    return t("labelled.for", names=t("list.and").join(dict.fromkeys(ANY.sub("", name) for name in item.labelled_for)))


def _evidence(item: Item, t: Words) -> str:
    counted = "" if item.evidence is None else _counted(item.evidence, t)
    return (counted + _routes(item, t)).strip()


def _routes(item: Item, t: Words) -> str:
    known = [one for one in item.routes if one.route != NOT_KNOWN][:MOST_ROUTES]
    told = [f"{t(f'route.{one.route}')} {one.patients}" for one in known]
    if item.routes and not known:
        told = [t(f"route.{NOT_KNOWN}")]
    return t("evidence.routes", routes=t("list.comma").join(told)) if told else ""


def _counted(about: Evidence, t: Words) -> str:
    had = t("evidence.had", patients=_about(about.patients, t))
    if about.sharing is None or about.shared is None or about.patients.startswith("<"):
        return had + t("stop")
    return had + t("evidence.sharing", sharing=_about(about.sharing, t), shared=about.shared) + t("stop")


def _about(count: str, t: Words) -> str:
    """A count as it may be told: "<11" or a round number."""
    return t("evidence.few", n=count[1:]) if count.startswith("<") else t("evidence.about", n=count)
