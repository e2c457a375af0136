"""Events in a source's own codes and words in, events under the names that the engine works with out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from recommender.ingest_log import IngestLog
from recommender.loaders.columns import chosen, constant, distinct, per_distinct
from recommender.records import RawEvents
from recommender.vocabulary import CODE_METHODS, DrugMatch, DrugVocabulary
from recommender.vocabulary.routes import route_bit

LOCAL_ROUTES = ("ophthalmic", "otic", "topical", "irrigation")
REACHES_THE_BODY = ("Beta blocker, non-selective",)  # also as eye drops: FDA label Timoptic, section 4


def identified(raw: RawEvents, log: IngestLog) -> RawEvents:
    """Every event with a code and a name: what has only one of them is known by that, what has neither is rejected."""
    frame = raw.frame
    if frame["code"].notna().all() and frame["name"].notna().all():
        return raw
    nothing = frame["code"].isna() & frame["name"].isna()
    log.add(raw.file, "code", "neither a code nor a name", frame.loc[nothing, "row"])
    frame = frame[~nothing]
    names = frame["code"], frame["name"]
    return replace(
        raw,
        frame=frame.assign(
            code=per_distinct(lambda code, name: code or f"text:{(name or '').lower()}", *names),
            name=per_distinct(lambda code, name: name or code, *names),
        ),
    )


def name_drugs(raw: RawEvents, vocabulary: DrugVocabulary, log: IngestLog) -> RawEvents:
    """Drug events under the vocabulary's code, name and class; those that are no therapy are rejected, with the reason.

    What the vocabulary does not know stays under its own name. `frame` may have a `route`, which some names need. By it
    or by the name is told what is `local`, and by which route it was given (see `Records`).
    """
    frame = raw.frame
    nothing = pd.Series(constant(None, len(frame)), index=frame.index)
    route, group = frame.get("route", nothing), frame.get("group", nothing)
    position, spoken = distinct(frame["code"], frame["name"], route, group)
    matches = [_match(vocabulary, str(code), str(name), route or "") for code, name, route, _ in spoken]
    rows = np.bincount(position, minlength=len(matches))
    for match, count in zip(matches, rows.tolist(), strict=True):
        if match.status != "not_therapy":
            log.count_mapped(match.method, count)
        if match.status == "unmapped":
            log.count_unmapped(match.name, count)
    rules = np.array(
        [match.method.removeprefix("rule:") if match.status == "not_therapy" else "" for match in matches], object
    )
    for rule in sorted(set(rules) - {""}):
        log.add(raw.file, "name", f"not therapy: {rule}", frame["row"].to_numpy()[(rules == rule)[position]])
    named = frame.assign(
        code=chosen([match.code for match in matches], position, frame.index),
        name=chosen([match.name for match in matches], position, frame.index),
        group=chosen(
            [match.drug_class or own for match, (*_, own) in zip(matches, spoken, strict=True)], position, frame.index
        ),
        local=np.array([_local(match) for match in matches], dtype=bool)[position],
        routes=np.array([route_bit(match.route_class) for match in matches], dtype=np.uint32)[position],
    )
    return replace(raw, frame=named[(rules == "")[position]])


def named_drug(vocabulary: DrugVocabulary, code: str, name: str, route: str = "") -> tuple[DrugMatch, bool]:
    """What `name_drugs` makes of one drug by its code, name or both, and whether it acts where it is put."""
    match = _match(vocabulary, code or f"text:{name.lower()}", name or code, route)
    return match, _local(match)


def _local(match: DrugMatch) -> bool:
    if match.drug_class in REACHES_THE_BODY and match.route_class == "ophthalmic":
        return False
    return match.route_class in LOCAL_ROUTES


def _match(vocabulary: DrugVocabulary, code: str, name: str, route: str) -> DrugMatch:
    """By code where the site's map or the vocabulary knows it, else by name.

    A name that a rule or the site's map decides goes before what the vocabulary knows of the code.
    """
    by_code, by_name = vocabulary.match(code, route=route), vocabulary.match(name, route=route)
    known = by_code.method in CODE_METHODS and not by_name.method.startswith("rule:")
    if known or vocabulary.of_site(code):
        # a code tells which drug it is, and the name beside it may tell its form
        return replace(by_code, route_class=by_code.route_class or by_name.route_class)
    return by_name
