"""A tally, a release's counts, the catalogue and the formulary in; what a pharmacist looks at as a whole out.

Every number is told as `cells.about` or `Support` tells it; every share is of what is told. Of the drugs that are not
on the formulary, those that 11 patients or more take or have suggested are listed (the rules at the top of `cells.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recommender.catalogue import Catalogue
from recommender.formulary import STATUSES, Formulary
from recommender.reports.cells import Cell, about
from recommender.reports.patient_page import plain
from recommender.reports.tally import Tally
from recommender.safety.kinds import RANK, AnyRule, DuplicateRule, InteractionRule
from recommender.snapshot import Release
from recommender.support import in_tens

MOST_CONDITIONS, MOST_TREATMENTS, MOST_DRUGS, ON_MAP, MOST_ALTERNATIVES = 12, 6, 20, 10, 4


@dataclass(frozen=True)
class RuleLine:
    """A rule that holds within what patients take now, and about how many patients."""

    rule: str
    severity: str
    message: str
    patients: Cell


@dataclass(frozen=True)
class DrugLine:
    """A drug that is not on the formulary: who takes it, who has it suggested, and what of its class is on."""

    code: str
    name: str
    taken: Cell
    suggested: Cell
    alternatives: tuple[str, ...]


@dataclass(frozen=True)
class ConditionLine:
    """What patients with a condition had most: (name, about how many, share of those with the condition)."""

    code: str
    name: str
    patients: str
    treatments: tuple[tuple[str, str, float], ...]


@dataclass(frozen=True)
class Together:
    """Of the most frequent drugs: who had the one of the row, what share of them also had that of the column; None
    where hidden."""

    names: tuple[str, ...]
    shares: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class Pharmacy:
    """patients: to the ten. formulary: "" where none is set. use: status -> (patients who take such a drug, who have
    one suggested)."""

    patients: int
    formulary: str
    use: Mapping[str, tuple[Cell, ...]]
    not_on: tuple[DrugLine, ...]
    interactions: tuple[RuleLine, ...]
    duplicates: tuple[RuleLine, ...]
    conditions: tuple[ConditionLine, ...]
    together: Together


def pharmacy_of(release: Release, found: Tally, catalogue: Catalogue, formulary: Formulary) -> Pharmacy:
    """`found`: tallied with the same formulary."""
    total = found.patients
    return Pharmacy(
        patients=in_tens(total),
        formulary=formulary.version,
        use={
            status: (
                about(found.status_taken.get(status, 0), total),
                about(found.status_suggested.get(status, 0), total),
            )
            for status in STATUSES
            if formulary
        },
        not_on=tuple(_not_on(found, catalogue, formulary)) if formulary else (),
        interactions=_rules(found, InteractionRule),
        duplicates=_rules(found, DuplicateRule),
        conditions=tuple(_conditions(release)),
        together=_together(release),
    )


def _rules(found: Tally, kind: type[AnyRule]) -> tuple[RuleLine, ...]:
    """By severity, then by about how many, then by id."""
    lines = [
        RuleLine(name, rule.severity, rule.message, about(found.therapy[name], found.patients))
        for name, rule in found.rules.items()
        if isinstance(rule, kind) and name in found.therapy
    ]
    lines.sort(key=lambda line: (-RANK[line.severity], -line.patients.number, line.rule))
    return tuple(lines)


def _not_on(found: Tally, catalogue: Catalogue, formulary: Formulary) -> list[DrugLine]:
    lines = []
    for code in found.taken.keys() | found.suggested.keys():
        if formulary.status(code) != "non_formulary":
            continue
        drug = catalogue.by_code.get(code)
        others = catalogue.alternatives(drug) if drug else ()
        on = [one.name for one in others if formulary.status(one.code) in ("formulary", "restricted")]
        taken, suggested = (about(of.get(code, 0), found.patients) for of in (found.taken, found.suggested))
        if taken.hidden and suggested.hidden:
            continue
        lines.append(DrugLine(code, drug.name if drug else code, taken, suggested, tuple(on[:MOST_ALTERNATIVES])))
    lines.sort(key=lambda line: (-line.taken.number - line.suggested.number, line.name))
    return lines[:MOST_DRUGS]


def _conditions(release: Release) -> list[ConditionLine]:
    support, index = release.support, release.index
    if support is None:
        return []
    block = index.block("conditions")
    ranked = sorted(range(block.start, block.stop), key=lambda ix: (-support.of_column(ix).about, ix))
    drugs = np.array([index.columns[ix].kind == "drug" for ix in index.targets.tolist()])
    lines = []
    for ix in ranked[:MOST_CONDITIONS]:
        had = support.of_column(ix)
        if had.hidden:
            break
        beside = np.where(drugs, support.beside(ix), 0)
        most = np.argsort(-beside, kind="stable")[:MOST_TREATMENTS]
        treatments = tuple(
            (
                plain(index.columns[index.targets[target]]),
                support.together(ix, int(target)).text,
                min(1.0, beside[target] / had.about),
            )
            for target in most
            if beside[target]
        )
        lines.append(ConditionLine(index.columns[ix].code, plain(index.columns[ix]), had.text, treatments))
    return lines


def _together(release: Release) -> Together:
    support, index = release.support, release.index
    if support is None:
        return Together((), ())
    drugs = [target for target, ix in enumerate(index.targets.tolist()) if index.columns[ix].kind == "drug"]
    top = sorted(drugs, key=lambda target: (-support.had(target).about, target))[:ON_MAP]
    top = [target for target in top if not support.had(target).hidden]
    shares = []
    for one in top:
        column, had = int(index.targets[one]), support.had(one).about
        beside = support.beside(column)
        shares.append(tuple(min(1.0, float(beside[other]) / had) if beside[other] else None for other in top))
    return Together(tuple(plain(index.columns[index.targets[target]]) for target in top), tuple(shares))
