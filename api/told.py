"""What the engine knows of treatments, rules and counts in, the answers' frozen values (`api/types.py`) out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, cast

import numpy as np

from api.types import (
    CheckedDrug,
    DrugInteractions,
    FormularyEntry,
    InteractionAnswer,
    Kind,
    LabelledUses,
    Named,
    RuleHolds,
    RulesStamp,
    RuleWith,
    Together,
    TogetherList,
    Treatment,
    TreatmentLine,
    UncheckedDrug,
)
from api.words import EN
from recommender import catalogue as engine
from recommender.formulary import Formulary
from recommender.interaction_check import InteractionCheck
from recommender.safety import AnyRule, InteractionRule, Rules
from recommender.safety.indications import Indications


def line(one: engine.Treatment, formulary: Formulary, hit: engine.Hit | None = None) -> TreatmentLine:
    return TreatmentLine(
        **_line(one, formulary), matched=hit.matched if hit else None, spelling=hit.spelling if hit else ""
    )


def treatment(
    version: str, one: engine.Treatment, formulary: Formulary, rules: Rules, indications: Indications
) -> Treatment:
    return Treatment(
        **_line(one, formulary),
        version=version,
        synonyms=one.synonyms,
        ingredients=_named(one.ingredients, rules),
        routes_statement=EN["routes.some" if one.routes else "routes.none" if one.kind == "drug" else "routes.no_drug"],
        interactions=_interactions_of(one, rules),
        indications=_uses(one, indications),
    )


def listed(one: engine.Treatment, formulary: Formulary) -> FormularyEntry | None:
    status = formulary.status(one.code, one.kind)
    if status == "unknown":
        return None
    found = formulary.listings.get(one.code)
    return FormularyEntry(status, found.tier if found else "", found.restriction if found else "")


def together(
    catalogue: engine.Catalogue,
    code: str,
    name: str,
    column_ix: int,
    kinds: Collection[str],
    limit: int,
    formulary: Formulary,
    labelled: Callable[[engine.Treatment], bool | None] = lambda _: None,
) -> TogetherList:
    """The targets of `kinds` that most of the patients with a column had, as far as it may be told."""
    support = catalogue.support
    if support is None or column_ix < 0:
        message = EN["together.not_counted" if support is None else "together.not_given"]
        return TogetherList(catalogue.version, code, name, None, (), 0, message)
    had, beside = support.of_column(column_ix), support.beside(column_ix)
    others = [
        (ix, one)
        for ix, one in enumerate(map(catalogue.of_target, range(len(beside))))
        if one.kind in kinds and one.column_ix != column_ix
    ]
    ranked = sorted((pair for pair in others if beside[pair[0]]), key=lambda pair: -beside[pair[0]])
    items = tuple(
        Together(
            code=one.code,
            kind=cast(Kind, one.kind),
            name=one.name,
            class_=one.group,
            patients=support.together(column_ix, ix).plain,
            share=round(min(1.0, float(beside[ix]) / had.about), 2),
            share_overall=round(min(1.0, support.had(ix).about / support.n_patients), 2),
            formulary=listed(one, formulary),
            labelled=labelled(one),
        )
        for ix, one in ranked[:limit]
    )
    hidden = int(np.sum([not beside[ix] for ix, _ in others]))
    return TogetherList(
        catalogue.version, code, name, had.plain, items, hidden, None if items else EN["together.hidden"]
    )


def interactions(found: InteractionCheck, rules: Rules) -> InteractionAnswer:
    return InteractionAnswer(
        statement=found.statement,
        complete=found.complete,
        rules=RulesStamp(found.rules, found.reviewed.isoformat()),
        findings=tuple(
            RuleHolds(
                **_rule(one.rule),
                drugs=tuple(Named(drug.code, drug.name) for drug in one.drugs),
                places=tuple(drug.place for drug in one.drugs),
            )
            for one in found.findings
        ),
        checked=tuple(
            CheckedDrug(one.place, one.given, one.code, one.name, _named(one.ingredients, rules))
            for one in found.checked
        ),
        not_checked=tuple(
            UncheckedDrug(one.place, one.given, one.why, tuple(Named(*guess) for guess in one.guesses))
            for one in found.not_checked
        ),
    )


def _uses(one: engine.Treatment, indications: Indications) -> LabelledUses:
    terms = indications.of(one.code) if one.kind == "drug" else ()
    items = tuple(Named(term, indications.names[term]) for term in terms)
    return LabelledUses(EN["uses.some" if items else "uses.none"], items)


def _line(one: engine.Treatment, formulary: Formulary) -> dict[str, Any]:
    return {
        "code": one.code,
        "kind": one.kind,
        "name": one.name,
        "class_": one.group,
        "therapeutic_group": one.chapter,
        "brands": one.brands,
        "on_record": one.on_record,
        "patients": one.patients.plain if one.patients else None,
        "routes": one.routes,
        "formulary": listed(one, formulary),
    }


def _interactions_of(one: engine.Treatment, rules: Rules) -> DrugInteractions:
    if not one.ingredients:
        why = "interactions.unknown_drug" if one.kind == "drug" else "interactions.no_drug"
        return DrugInteractions(False, EN[why], rules.version, ())
    found = []
    for code in one.ingredients:
        partners: dict[str, list[str]] = {}
        for other, ids in rules.interactions_of(code).items():
            if other not in one.ingredients:  # what stands together in a product is meant to
                for name in ids:
                    partners.setdefault(name, []).append(other)
        for name, others in partners.items():
            rule = rules.by_id[name]
            (ingredient,) = _named((code,), rules)
            found.append((rule, RuleWith(**_rule(rule), ingredient=ingredient, with_=_named(others, rules))))
    found.sort(key=lambda pair: (-pair[0].rank, pair[0].id, pair[1].ingredient.name))
    words = EN["interactions.some" if found else "interactions.none"]
    statement = words.format(n=len(found), date=rules.reviewed[1].isoformat(), version=rules.version)
    return DrugInteractions(True, statement, rules.version, tuple(item for _, item in found))


def _rule(rule: AnyRule) -> dict[str, Any]:
    pair = isinstance(rule, InteractionRule)
    return {
        "rule": rule.id,
        "kind": "interaction" if pair else "duplicate",
        "severity": rule.severity,
        "effect": rule.effect if isinstance(rule, InteractionRule) else "",
        "mechanism": rule.mechanism if isinstance(rule, InteractionRule) else "",
        "message": rule.message,
        "management": rule.management,
        "source": rule.source,
        "reviewed": rule.reviewed.isoformat(),
        "origin": rule.origin,
    }


def _named(codes: Sequence[str], rules: Rules) -> tuple[Named, ...]:
    """In order of their names."""
    return tuple(sorted((Named(code, rules.ingredients[code]) for code in codes), key=lambda one: (one.name, one.code)))
