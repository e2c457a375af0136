"""Drafted drugs and a chart in; what speaks against each that does not hold already, and better alternatives, out.

Nothing is told twice: a rule that holds between two drafts is told with the first of them, and what holds between drugs
that the patient takes already is no news of an order. So an order that renews what is taken tells nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recommender.fallback import Basis, narrowed
from recommender.loaders.naming import named_drug
from recommender.matrix import Column
from recommender.offer import Desk
from recommender.records import THERAPIES
from recommender.safety.charts import RUNS, RUNS_LOCALLY, Chart, Known
from recommender.safety.kernel import CONTRAINDICATED
from recommender.safety.kinds import DuplicateRule, InteractionRule
from recommender.safety.screen import Screen
from recommender.safety.verdict import Alert, Gap, Reading, Verdict
from recommender.snapshot import Entry
from recommender.vocabulary import DrugVocabulary

MOST_ALTERNATIVES = 3
MOST_TRIED = 30  # of a class; the best supported first
SERIOUS = 2
FIRST = 10  # places of a list: what stands there is well supported for this patient


@dataclass(frozen=True)
class Draft:
    """A drug that is about to be ordered. local: it acts where it is put. column: code "" where it is no therapy."""

    column: Column
    local: bool = False

    @classmethod
    def of(cls, vocabulary: DrugVocabulary, code: str, name: str, route: str = "") -> Draft:
        """As a record of it would be named."""
        match, local = named_drug(vocabulary, code, name, route)
        return cls(Column(match.code, "drug", match.name or name or code, match.drug_class), local)


@dataclass(frozen=True)
class Judged:
    """What an order of a draft would bring: alerts that do not hold already, the strictest first; what is not checked
    of it; whether it renews what is taken. minor: those gaps which only stand for warnings, as a missing value does on
    which no contraindication depends. reading: the chart with all other drafts."""

    draft: Draft
    renews: bool
    alerts: tuple[Alert, ...]
    gaps: tuple[Gap, ...]
    minor: tuple[Gap, ...]
    reading: Reading

    @property
    def rank(self) -> int:
        """3 contraindicated, 2 serious, 1 caution, 0 nothing."""
        return max((alert.rule.rank for alert in self.alerts), default=0)


@dataclass(frozen=True)
class Alternative:
    """A drug that may stand for a draft. place: among the patient's therapies by score, from 1; None beyond FIRST."""

    column: Column
    verdict: Verdict
    place: int | None


def judged(
    screen: Screen, chart: Chart, known: Known, drafts: Sequence[Draft], which: Collection[int], elapsed: int = 0
) -> tuple[Judged, ...]:
    """The drafts at the places `which`, each as if all the others were ordered too."""
    own = chart.concept.tolist()
    # an order says itself how it is given: what is usual for its drug here does not count
    base = replace(known, concepts=tuple(known.concepts[ix] for ix in own), local=frozenset())
    chart = replace(chart, concept=np.arange(len(own), dtype=np.int32))
    taken = _taken(screen, base, chart)
    renewing = [_renews(screen, draft, taken) for draft in drafts]
    new = [place for place, draft in enumerate(drafts) if not renewing[place] and draft.column.code]
    there = Reading(screen, screen.read(base), chart, elapsed)
    already = _already(screen, there)
    # the concepts of all new drafts behind the chart's own; a code that is on the chart (ended, say) stands twice
    codes = list(dict.fromkeys(drafts[place].column.code for place in new))
    place_of = {code: len(own) + number for number, code in enumerate(codes)}
    columns = {drafts[place].column.code: drafts[place].column for place in reversed(new)}
    read = screen.read(replace(base, concepts=(*base.concepts, *(columns[code] for code in codes))))
    found: list[Judged] = []
    told: set[tuple[str, str, str]] = set()
    for place in sorted(which):
        draft = drafts[place]
        others = [other for other in new if other != place]
        reading = Reading(screen, read, _with(chart, [drafts[other] for other in others], place_of), elapsed)
        verdict = reading.verdict(draft.column)
        alerts = () if renewing[place] or not draft.column.code else _news(screen, draft, verdict.alerts, already)
        alerts = tuple(alert for alert in alerts if (alert.rule.id, alert.because, draft.column.name) not in told)
        told |= {(alert.rule.id, draft.column.name, alert.because) for alert in alerts}
        # what is taken is not checked anew, and what is no therapy (a flush, a diluent) never
        gaps = () if renewing[place] or not draft.column.code else verdict.gaps
        minor = tuple(gap for gap in gaps if _only_warns(screen, draft, gap))
        found.append(Judged(draft, renewing[place], alerts, gaps, minor, reading))
    return tuple(found)


def alternatives(desk: Desk, entry: Entry, basis: Basis, one: Judged) -> tuple[Alternative, ...]:
    """Drugs of the draft's class that are safer, or, where nothing serious speaks against it, better supported: they
    stand among the first of the patient's list and the draft does not. The best supported first."""
    index, group = desk.release.index, one.draft.column.group
    mine = set(desk.screen.ingredients(one.draft.column.code))
    if not group or not mine or one.renews:
        return ()
    stays = np.array(
        [c.kind == "drug" and c.group == group and mine.isdisjoint(_parts(desk.screen, c)) for c in index.columns]
    )
    near = narrowed(desk, entry, basis, stays).columns.tolist()[:MOST_TRIED]
    first = [ix for ix in entry.columns.tolist() if index.columns[ix].kind in THERAPIES][:FIRST]
    places = {ix: place for place, ix in enumerate(first, start=1)}
    if one.rank < SERIOUS:
        known = index.place.get(("drug", one.draft.column.code))
        near = [] if known in places else [ix for ix in near if ix in places]
    found: list[Alternative] = []
    for ix in near:
        verdict = one.reading.verdict(index.columns[ix])
        if verdict.rank < SERIOUS and verdict.rank <= one.rank and verdict.outcome == "kept":
            found.append(Alternative(index.columns[ix], verdict, places.get(ix)))
        if len(found) == MOST_ALTERNATIVES:
            break
    return tuple(found)


def _with(chart: Chart, drafts: Sequence[Draft], place_of: dict[str, int]) -> Chart:
    """The chart with drafts as drugs that go on; what goes on in the body goes before what goes on at the skin."""
    days: dict[int, int] = {}
    for draft in drafts:
        at = place_of[draft.column.code]
        days[at] = max(days.get(at, RUNS_LOCALLY), RUNS_LOCALLY if draft.local else RUNS)
    more = sorted(days)
    return replace(
        chart,
        concept=np.concatenate([chart.concept, np.array(more, dtype=np.int32)]),
        days=np.concatenate([chart.days, np.array([days[at] for at in more], dtype=np.int32)]),
        value=np.concatenate([chart.value, np.full(len(more), np.nan, dtype=np.float32)]),
    )


def _taken(screen: Screen, known: Known, chart: Chart) -> list[tuple[str, frozenset[int], bool]]:
    """Code, ingredients and whether it acts locally, of each drug that goes on."""
    facts = zip(chart.concept.tolist(), chart.days.tolist(), strict=True)
    return [
        (known.concepts[ix].code, frozenset(_parts(screen, known.concepts[ix])), days == RUNS_LOCALLY)
        for ix, days in facts
        if known.concepts[ix].kind == "drug" and days <= RUNS
    ]


def _renews(screen: Screen, draft: Draft, taken: Sequence[tuple[str, frozenset[int], bool]]) -> bool:
    """Whether a drug of the same ingredients is taken already, and in the body where the draft is."""
    parts = frozenset(_parts(screen, draft.column))
    return any(
        (draft.column.code == code or (parts and parts == others)) and (draft.local or not local)
        for code, others, local in taken
    )


Already = dict[tuple[str, str], set[int]]
"""(rule, because of what) -> the ingredients of drugs that are taken and with which it holds."""


def _already(screen: Screen, reading: Reading) -> Already:
    found: Already = {}
    therapy = reading.therapy()
    named = {verdict.drug.name: set(_parts(screen, verdict.drug)) for verdict in therapy}
    for verdict in therapy:
        parts = named[verdict.drug.name]
        for alert in verdict.alerts:
            found.setdefault((alert.rule.id, alert.because), set()).update(parts)
            if alert.because in named:  # a pair, which is told with the first of the two
                found.setdefault((alert.rule.id, verdict.drug.name), set()).update(named[alert.because])
    return found


def _news(screen: Screen, draft: Draft, alerts: Sequence[Alert], already: Already) -> tuple[Alert, ...]:
    parts = set(_parts(screen, draft.column))
    return tuple(
        alert
        for alert in alerts
        if parts.isdisjoint(already.get((alert.rule.id, alert.because), ()))
        and not (draft.local and isinstance(alert.rule, InteractionRule | DuplicateRule))
    )


def _only_warns(screen: Screen, draft: Draft, gap: Gap) -> bool:
    """Whether what was not checked could bring no more than a warning."""
    if gap.kind != "lab":
        return False
    parts = frozenset(screen.rules.ingredients_of(draft.column.code))
    strict = (rule.measure for rule in screen.rules.labs if rule.rank == CONTRAINDICATED and rule.drugs & parts)
    return not any(screen.rules.measures[measure].name in gap.about for measure in strict)


def _parts(screen: Screen, column: Column) -> tuple[int, ...]:
    return screen.ingredients(column.code) if column.kind == "drug" else ()
