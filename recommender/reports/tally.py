"""A version's patients in, one after another; what stands on their lists and against what they take, counted, out.

True counts, for a program: what may be told of them goes through `cells.py`. Each patient's list is made as it is when
the patient's page is opened (`Desk.offer`), so the burden of alerts is the one that clinicians see.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from recommender.formulary import Formulary
from recommender.offer import Desk
from recommender.offered import elapsed_days
from recommender.records import THERAPIES
from recommender.safety.kinds import SEVERITIES, AnyRule
from recommender.safety.verdict import Verdict
from recommender.snapshot import Entry


@dataclass(frozen=True)
class Tally:
    """Patients unless it says otherwise. taken, suggested: by code of a drug; therapy, warned: by id of a rule, of what
    is taken now and of the first n suggestions; alerts: warnings on lists by severity, and alerted: patients with such.

    status_taken, status_suggested: who takes, and has suggested, any drug of a formulary status. drugs_taken,
    drugs_understood: drugs of all patients together.
    """

    n: int
    patients: int = 0
    with_list: int = 0
    with_withheld: int = 0
    with_gaps: int = 0
    with_therapy: int = 0
    drugs_taken: int = 0
    drugs_understood: int = 0
    withheld: int = 0
    taken: Mapping[str, int] = field(default_factory=dict)
    suggested: Mapping[str, int] = field(default_factory=dict)
    therapy: Mapping[str, int] = field(default_factory=dict)
    warned: Mapping[str, int] = field(default_factory=dict)
    alerts: Mapping[str, int] = field(default_factory=dict)
    alerted: Mapping[str, int] = field(default_factory=dict)
    status_taken: Mapping[str, int] = field(default_factory=dict)
    status_suggested: Mapping[str, int] = field(default_factory=dict)
    rules: Mapping[str, AnyRule] = field(default_factory=dict)


def tally(
    desk: Desk,
    entries: Iterable[tuple[str, Entry]],
    n: int = 10,
    *,
    formulary: Formulary | None = None,
    now: datetime | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Tally:
    """About a millisecond a patient; memory does not grow with them."""
    whole: Counter[str] = Counter()
    taken, suggested, therapy, warned, status_taken, status_suggested = (Counter[str]() for _ in range(6))
    status = (formulary or Formulary()).status
    alerts, alerted = (Counter[str](dict.fromkeys(SEVERITIES, 0)) for _ in range(2))
    rules: dict[str, AnyRule] = {}
    columns, elapsed = desk.release.index.columns, elapsed_days(desk.release, now)
    for _, entry in entries:
        offered = desk.offer(entry, desk.reading(entry.chart, elapsed=elapsed), n, THERAPIES)
        whole["patients"] += 1
        whole["with_list"] += bool(offered.items)
        whole["with_withheld"] += bool(offered.withheld)
        whole["with_gaps"] += bool(offered.gaps)
        whole["with_therapy"] += bool(offered.therapy)
        whole["withheld"] += len(offered.withheld)
        whole["drugs_understood"] += offered.drugs_checked[0]
        whole["drugs_taken"] += offered.drugs_checked[1]
        takes = {one.drug.code for one in offered.therapy}
        listed = [columns[one.column_ix] for one in offered.items]
        offers = {column.code for column in listed if column.kind == "drug"}
        taken.update(takes)
        suggested.update(offers)
        status_taken.update({status(code) for code in takes})
        status_suggested.update({status(code) for code in offers})
        therapy.update(_rules(offered.therapy, rules))
        verdicts = [one.verdict for one in offered.items]
        warned.update(_rules(verdicts, rules))
        seen = [alert.rule.severity for verdict in verdicts for alert in verdict.alerts]
        alerts.update(seen)
        alerted.update(set(seen))
        progress(1)
    return Tally(
        n,
        **{name: whole[name] for name in _WHOLE},
        taken=taken,
        suggested=suggested,
        therapy=therapy,
        warned=warned,
        alerts=alerts,
        alerted=alerted,
        status_taken=status_taken,
        status_suggested=status_suggested,
        rules=rules,
    )


_WHOLE = (
    *("patients", "with_list", "with_withheld", "with_gaps", "with_therapy"),
    *("drugs_taken", "drugs_understood", "withheld"),
)


def _rules(verdicts: Iterable[Verdict], rules: dict[str, AnyRule]) -> set[str]:
    found = {alert.rule.id: alert.rule for verdict in verdicts for alert in verdict.alerts}
    rules.update(found)
    return set(found)
