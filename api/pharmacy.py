"""What a pharmacy system asks in, treatments, interactions and the formulary out; nothing here is about a patient."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec
from flask import Blueprint, Response, request
from msgspec import UNSET, UnsetType

from api import told
from api.errors import BadParameter, UnknownCondition, UnknownTreatment
from api.lines import csv_pieces, ndjson_pieces
from api.operations import operation
from api.reference import reference
from api.serving import serving
from api.typed import JSON, body, etag, query, reply, stream, unchanged
from api.types import (
    Alternatives,
    FormularyAnswer,
    FormularyLine,
    InteractionAnswer,
    InteractionRequest,
    ListQuery,
    NoQuery,
    TogetherList,
    TogetherQuery,
    Treatment,
    TreatmentList,
    TreatmentQuery,
)
from api.words import EN
from recommender import catalogue as engine
from recommender.formulary import STATUSES, Formulary
from recommender.interaction_check import check
from recommender.records import THERAPIES
from recommender.snapshot import Release

FORMAT = "2"  # part of every ETag: raise it when the answer to an unchanged question changes
CSV, NDJSON = "text/csv", "application/x-ndjson"
FORMATS = {"json": JSON, "csv": CSV, "ndjson": NDJSON}
CODE = {"code": "A code as lists give it (`rxnorm:6809`), percent-encoded; or an RxCUI"}

blueprint = Blueprint("pharmacy", __name__, url_prefix="/v1")


@blueprint.get("/treatments")
@operation("Search or export treatments", query=TreatmentQuery, answer=TreatmentList, lines=(CSV, NDJSON))
def treatments() -> Response:
    """Everything that the version being served knows, and every drug of the vocabulary.

    What begins with `q` comes first: a name, then another spelling, then a later word of one. Only where nothing does,
    names at least 80% like it are given, as `matched: "typo"`. The order is stable: pages that follow `next` hold each
    item once. A cursor holds for one version and one query; after a new version begin again without it. CSV and NDJSON
    (by `Accept` or `format`) hold the whole selection in one stream.
    """
    asked = query(TreatmentQuery)
    media = FORMATS[asked.format] if asked.format is not UNSET else _accepted()
    release, formulary = serving().release(), reference().formulary
    catalogue = reference().catalogue(release)
    tag = _tag(catalogue, media)
    if kept := unchanged(tag):
        return _varied(kept)
    hits = _selected(release, catalogue, formulary, asked)
    if media != JSON:
        lines = (told.line(hit.treatment, formulary, hit) for hit in hits)
        response = stream(csv_pieces(lines) if media == CSV else ndjson_pieces(lines), tag, media)
        response.headers["Content-Disposition"] = (
            f'attachment; filename="treatments.{"csv" if media == CSV else "ndjson"}"'
        )
        return _varied(response)
    depends = [
        str(value) for value in msgspec.structs.asdict(msgspec.structs.replace(asked, limit=1, cursor="")).values()
    ]
    try:
        page = catalogue.page(hits, asked.limit, asked.cursor, (formulary.version, *depends))
    except engine.BadCursor as error:
        raise BadParameter("cursor", str(error)) from None
    answer = TreatmentList(
        version=catalogue.version,
        formulary_version=formulary.version or None,
        total=page.total,
        items=tuple(told.line(hit.treatment, formulary, hit) for hit in page.hits),
        next=page.cursor or None,
        message=_why_none(formulary, asked, page.total),
    )
    return _varied(reply(answer, tag))


@blueprint.get("/treatments/<path:code>")
@operation("One treatment", query=NoQuery, answer=Treatment, path=CODE, problems=(404,))
def treatment(code: str) -> Response:
    """Class, brands, ingredients, formulary status, about how many patients had it, and all its interactions.

    Where `interactions.checked` is false, nothing is known of its interactions: that is not "none".
    """
    query(NoQuery)
    catalogue, one = _found(code)
    known, tag = reference(), _tag(catalogue)
    rules, uses = known.screen.rules, known.indications
    return unchanged(tag) or reply(told.treatment(catalogue.version, one, known.formulary, rules, uses), tag)


@blueprint.get("/treatments/<path:code>/alternatives")
@operation("Drugs of the same class", query=ListQuery, answer=Alternatives, path=CODE, problems=(404,))
def alternatives(code: str) -> Response:
    """On the formulary first, then those that more patients had, then by name. Not a statement that they are equal."""
    asked = query(ListQuery)
    catalogue, one = _found(code)
    formulary, tag = reference().formulary, _tag(catalogue)
    if kept := unchanged(tag):
        return kept
    classed = one.group and one.kind == "drug"
    others = sorted(catalogue.alternatives(one), key=lambda other: (formulary.order_key(other.code), -_about(other)))
    said = "alternatives.no_class"
    if classed:
        said = "alternatives.statement" if others else "alternatives.none"
    answer = Alternatives(
        version=catalogue.version,
        code=one.code,
        name=one.name,
        class_=one.group,
        statement=EN[said],
        items=tuple(told.line(other, formulary) for other in others[: asked.limit]),
    )
    return reply(answer, tag)


@blueprint.get("/treatments/<path:code>/co-prescribed")
@operation("What its patients had as well", query=TogetherQuery, answer=TogetherList, path=CODE, problems=(404,))
def co_prescribed(code: str) -> Response:
    """What the patients who had it had as well, the most frequent first. Fewer than 11 patients are never told."""
    asked = query(TogetherQuery)
    catalogue, one = _found(code)
    kinds = ("drug",) if asked.kind is UNSET else (asked.kind,)
    return _together(catalogue, one.code, one.name, one.column_ix, kinds, asked.limit)


@blueprint.get("/conditions/<path:code>/treatments")
@operation(
    "What patients with a condition had",
    query=TogetherQuery,
    answer=TogetherList,
    path={"code": "A condition's code as charts give it (`snomed:44054006`), percent-encoded"},
    problems=(404,),
)
def of_condition(code: str) -> Response:
    """What the patients with a condition had, the most frequent first: what was done here, not what should be."""
    asked = query(TogetherQuery)
    catalogue = _catalogue()
    column_ix = catalogue.condition(code)
    if column_ix is None:
        raise UnknownCondition("no condition of that code in the version being served")
    kinds = THERAPIES if asked.kind is UNSET else (asked.kind,)
    uses = reference().indications

    def labelled(one: engine.Treatment) -> bool | None:
        known = one.kind == "drug" and uses.of(one.code)
        return bool(uses.labelled_for(one.code, [code])) if known else None

    return _together(catalogue, code, catalogue.condition_name(column_ix), column_ix, kinds, asked.limit, labelled)


@blueprint.post("/interactions/check")
@operation("Check drugs against each other", body=(InteractionRequest,), answer=InteractionAnswer, problems=(413, 415))
def interactions() -> Response:
    """Every pair of drugs with all rules that hold, and every drug that could not be checked, with the reason.

    A name is never guessed: one that looks misspelt is in `not_checked`, with what it may mean. It is about drugs only,
    not about a patient. It works while the store is down.
    """
    asked = body(InteractionRequest)
    screen = reference().screen
    return reply(told.interactions(check(asked.drugs, screen.rules, screen.vocabulary), screen.rules))


@blueprint.get("/formulary")
@operation("The formulary as it was read", query=NoQuery, answer=FormularyAnswer)
def formulary() -> Response:
    """How many drugs have which status, and every line whose drug was not understood."""
    query(NoQuery)
    found = reference().formulary
    tag = etag(FORMAT, "formulary", found.version)
    counts = {status: sum(one.status == status for one in found.listings.values()) for status in STATUSES}
    answer = FormularyAnswer(
        imported=bool(found),
        version=found.version or None,
        lines=found.lines,
        drugs=len(found.listings),
        counts={str(status): count for status, count in counts.items()},
        not_understood=tuple(FormularyLine(one.row, one.drug, one.why) for one in found.unknown),
    )
    return reply(answer, tag)


# --- selecting -------------------------------------------------------------------------------------------------------


def _selected(
    release: Release, catalogue: engine.Catalogue, formulary: Formulary, asked: TreatmentQuery
) -> tuple[engine.Hit, ...]:
    wanted: list[Callable[[engine.Treatment], bool]] = []
    if asked.kind is not UNSET:
        wanted.append(lambda one: one.kind == asked.kind)
    if asked.on_record is not UNSET:
        wanted.append(lambda one: one.on_record == asked.on_record)
    if not isinstance(asked.class_, UnsetType):
        classes = catalogue.classes(asked.class_)
        wanted.append(lambda one: one.group in classes or one.chapter in classes)
    if asked.formulary is not UNSET:
        wanted.append(lambda one: formulary.status(one.code, one.kind) == asked.formulary)
    if not isinstance(asked.route, UnsetType):
        route = asked.route
        wanted.append(lambda one: one.kind == "drug" and release.by_route(one.code, route))
    if not isinstance(asked.rxcui, UnsetType):
        coded = catalogue.find(asked.rxcui)
        wanted.append(lambda one: one is coded)
    return catalogue.search(asked.q, lambda one: all(right(one) for right in wanted))


def _why_none(formulary: Formulary, asked: TreatmentQuery, total: int) -> str | None:
    if asked.formulary is not UNSET and not formulary:
        return EN["treatments.no_formulary"]
    return None if total else EN["treatments.none"]


def _together(
    catalogue: engine.Catalogue,
    code: str,
    name: str,
    column_ix: int,
    kinds: Collection[str],
    limit: int,
    labelled: Callable[[engine.Treatment], bool | None] = lambda _: None,
) -> Response:
    formulary, tag = reference().formulary, _tag(catalogue)
    of = (catalogue, code, name, column_ix, kinds, limit, formulary, labelled)
    return unchanged(tag) or reply(told.together(*of), tag)


def _found(code: str) -> tuple[engine.Catalogue, engine.Treatment]:
    catalogue = _catalogue()
    found = catalogue.find(code)
    if found is None:
        raise UnknownTreatment("no treatment of that code in the version being served or the vocabulary")
    return catalogue, found


def _catalogue() -> engine.Catalogue:
    return reference().catalogue(serving().release())


def _about(one: engine.Treatment) -> int:
    return one.patients.about if one.patients else 0


def _tag(catalogue: engine.Catalogue, media: str = JSON) -> str:
    """Of all that an answer about this version can depend on."""
    asked = [f"{name}={value}" for name, value in sorted(request.args.items(multi=True))]
    rules, formulary = reference().screen.rules.version, reference().formulary.version
    return etag(FORMAT, catalogue.fingerprint, rules, formulary, media, request.path, *asked)


# --- in which form ---------------------------------------------------------------------------------------------------


def _accepted() -> str:
    return str(request.accept_mimetypes.best_match([JSON, CSV, NDJSON], default=JSON))


def _varied(response: Response) -> Response:
    response.vary.add("Accept")
    return response
