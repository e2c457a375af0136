"""The middle of the road: `Records` and their `PatientMatrix` in, a `Snapshot` ready to publish out.

loaders.load -> Records -> features.build_matrix -> PatientMatrix -> Model.fit -> ranking.top_n -> safety -> Snapshot
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from recommender import given
from recommender.balance import balanced
from recommender.blocks import Blocks
from recommender.examples import Rows, matrix_of_visits, visited
from recommender.feedback import OFF, FeedbackUse, learned
from recommender.matrix import ColumnIndex, PatientMatrix
from recommender.models.base import Model
from recommender.models.linear import LinearModel
from recommender.moments import Moments, now
from recommender.part_lists import ChartsRead, Lists, Totals, some
from recommender.ranking import DEPTH, PER_KIND, SPARE, TopN, top_n, within_depth
from recommender.records import THERAPIES, TREATMENT_KINDS, Records
from recommender.safety.charts import Charts
from recommender.safety.kernel import CONTRAINDICATED, DRUG
from recommender.safety.kinds import RANK
from recommender.safety.screen import Read, Screen
from recommender.snapshot import Release, Snapshot
from recommender.support import stepped


def make_snapshot(
    records: Records,
    matrix: PatientMatrix,
    model: Model,
    version: str,
    provenance: Mapping[str, Any],
    screen: Screen,
    *,
    balance: str = "",
    feedback: FeedbackUse | None = None,
    progress: Callable[[int], None] | None = None,
    blocks: Blocks = Blocks(),  # noqa: B008  (frozen)
) -> Snapshot:
    """Fit `model`, rank every patient's suggestions and screen them. `matrix`: what is known today, from `records`.

    A model that foresees what begins after a moment is fitted on the visits of the past, any other on `matrix` itself;
    `balance`: by which groups of patients the examples are weighted (`balance.balanced`), "" for none.
    `feedback`: what clinicians made of earlier suggestions, and how the examples learn from it; None: not at all.
    `provenance` (where from, when, how good) joins the manifest as it is. `progress` is told the patients newly scored.
    `blocks`: how many patients are scored at a time.
    """
    fitted = _fitted(records, matrix, model, balance, feedback, blocks)
    blocks.between()
    index = fitted.reads(some(matrix, 0, 0)).index
    lists, rows, support = Lists(blocks), Rows(blocks), Totals()
    by_route = given.no_counts(records.concepts)
    read = ChartsRead(records, screen, blocks)
    found: dict[str, Any] = {}
    for first, part in blocks.of(records):
        mine = fitted.reads(some(matrix, first, first + part.n_patients))
        top = top_n(fitted, mine, DEPTH + SPARE, of=THERAPIES, per_kind=PER_KIND, progress=progress)
        charts = read.of(part)
        top, told = screened(screen, charts, index, top, read.meant)
        lists.append(top)
        rows.append(mine.rows)
        support.add(mine)
        by_route += given.counts_in(part)
        found = both_found(found, told)
    charts = read.whole()
    manifest = manifest_of(provenance, records.as_of, counts(records), index, fitted, found)
    told_of = stepped(index, matrix.n_patients, support.totals, support.together)
    routes = given.told_of(by_route, records.concepts, matrix.n_patients)
    release = Release(version, manifest, index, fitted, charts.known, told_of, routes)
    return Snapshot(release, matrix.patient_ids, lists.whole(), rows.whole(), charts)


def manifest_of(
    provenance: Mapping[str, Any],
    as_of: pd.Timestamp,
    counted: Mapping[str, int],
    index: ColumnIndex,
    fitted: Model,
    found: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        **provenance,
        "as_of": as_of.isoformat(),
        "counts": {**counted, "columns": len(index), "suggestable": len(index.targets)},
        "safety": found,
        "depth": DEPTH,
        "per_kind": PER_KIND,
        "model": {"name": fitted.name, "parameters": fitted.parameters()},
    }


def _fitted(
    records: Records, matrix: PatientMatrix, model: Model, balance: str, feedback: FeedbackUse | None, blocks: Blocks
) -> Model:
    """The model fitted on its examples, which are given up with this function: a night's memory is needed for lists."""
    if model.needs_later:
        told = visited(records, blocks)
        kinds = matrix.index.target_kinds
        examples, moments = matrix_of_visits(records, told, told.stays.usual_hours, kinds, blocks)
        return fitted_on(examples, moments, records, matrix.index, model, balance, feedback)
    if isinstance(model, LinearModel) and not balance and (feedback is None or feedback.how == OFF):
        return _summed_up(matrix, model, blocks)
    return fitted_on(model.reads(matrix), now(records), records, matrix.index, model, balance, feedback)


def _summed_up(matrix: PatientMatrix, model: LinearModel, blocks: Blocks) -> Model:
    """What `fit` gives, to the bit: the sums are exact (`LinearModel.sums`)."""
    index = model.reads(some(matrix, 0, 0)).index
    gram, had = np.zeros((0, 0)), np.zeros((0, 0))
    for first, end in blocks.spans(matrix.n_patients):
        one, other = model.sums(model.reads(some(matrix, first, end)))
        gram, had = (gram + one, had + other) if first else (one, other)
    return model.solved(index, np.asfortranarray(gram), np.asfortranarray(had))


def fitted_on(
    taught: PatientMatrix,
    moments: Moments,
    records: Records,
    index: ColumnIndex,
    model: Model,
    balance: str,
    feedback: FeedbackUse | None,
) -> Model:
    """The model fitted on `taught`, a row for each of the moments of the people of `records`, to suggest what `index`
    names."""
    if model.needs_later:
        taught = model.reads(taught)
        # the columns are the same at any moment; of what may be suggested, what `index` names
        taught = taught.with_targets(np.flatnonzero(np.isin(taught.index.targets, index.targets)))
    taught = balanced(taught, records, balance, moments.patient_ix, moments.known_until)
    return model.fit(learned(taught, moments.known_until, moments.followed_until, feedback or FeedbackUse()))


def screened(
    screen: Screen, charts: Charts, index: ColumnIndex, top: TopN, meant: Read | None = None
) -> tuple[TopN, dict[str, Any]]:
    """Every list cut where it holds DEPTH therapies, and PER_KIND of each kind, that nothing forbids; what was found.

    What is withheld stays in the list, so that it can be shown and screened again when the chart has changed. `meant`:
    what `screen` reads in the concepts of the charts, where that is known already.
    """
    tiers = screen.tiers(meant or screen.read(charts.known), charts, index.columns, top.indptr, top.columns)
    stays = within_depth(top, index, tiers.rank < CONTRAINDICATED, DEPTH, PER_KIND)
    drug = np.array([column.kind == "drug" for column in index.columns])[top.columns]
    rules = screen.rules
    found = {
        "checked": True,
        "rules": {"version": rules.version, "counts": rules.counts, "reviewed": [str(day) for day in rules.reviewed]},
        "switched_off": list(rules.switched_off),
        "lists": len(charts),
        "drugs": int(drug[stays].sum()),
        "by_severity": {name: int((tiers.rank[stays] == rank).sum()) for name, rank in RANK.items()},
        "not_checked": int((drug[stays] & (tiers.unchecked[stays] & DRUG > 0)).sum()),
    }
    return top.where(stays), found


def both_found(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What was found in two parts of the lists; `one`: of nobody yet, if it is empty."""
    if not one:
        return dict(other)
    added = {name: one[name] + other[name] for name in ("lists", "drugs", "not_checked")}
    severity = {name: n + other["by_severity"][name] for name, n in one["by_severity"].items()}
    return {**one, **added, "by_severity": severity}


def counts(records: Records) -> dict[str, int]:
    """Patients, events of each table, and distinct treatments of each kind."""
    kinds = records.concepts["kind"].value_counts()
    return {
        "patients": records.n_patients,
        **{f"{table}_events": len(getattr(records, table)) for table in ("treatments", "conditions", "allergies")},
        **{f"distinct_{kind}s": int(kinds.get(kind, 0)) for kind in (*TREATMENT_KINDS, "condition")},
    }
