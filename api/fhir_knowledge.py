"""A FHIR R4 client's read or search in, drugs as `MedicationKnowledge` out; every error is an `OperationOutcome`.

FHIR's own words (resources, parameters, codes) stay in this file. Only drugs are knowledge of medication.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Literal
from urllib.parse import urlencode

import msgspec
from flask import Blueprint, Response, request
from msgspec import UNSET, Meta, UnsetType, field
from werkzeug.exceptions import HTTPException

from api.errors import RETRY_AFTER_SECONDS, BadParameter, UnknownTreatment, kind_of
from api.fhir_types import (
    FHIR_JSON,
    Bundle,
    CapabilityStatement,
    Classification,
    CodeableConcept,
    Coding,
    Entry,
    Ingredient,
    Issue,
    Link,
    Match,
    MedicationKnowledge,
    OperationOutcome,
)
from api.observe import log_failure
from api.operations import operation
from api.reference import reference
from api.serving import serving
from api.typed import etag, query, reply, unchanged
from api.types import NoQuery, Request
from api.words import EN
from recommender.catalogue import BadCursor, Catalogue, Hit, Treatment
from recommender.errors import EngineError
from recommender.formulary import Formulary
from recommender.given import NOT_KNOWN

FORMAT = "3"  # part of every ETag
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
OURS = "urn:rxrec:code"  # the codes of the rest of this API
OUR_ROUTES = "urn:rxrec:route"  # as /v1/treatments tells them
WRITTEN = "2026-11-25"  # the capability statement
_PLAIN = re.compile(r"[a-z]+:[A-Za-z0-9+-]{1,60}")

blueprint = Blueprint("fhir_knowledge", __name__, url_prefix="/fhir")


class KnowledgeQuery(Request, frozen=True):
    """Search parameters of MedicationKnowledge. Others are refused: ignored, they would widen the result."""

    id_: Annotated[str, Meta(max_length=64)] | UnsetType = field(default=UNSET, name="_id")
    code: Annotated[str, Meta(max_length=200, description="`system|code` or `code`")] | UnsetType = UNSET
    code_text: Annotated[str, Meta(max_length=200, description="A beginning of a name")] | UnsetType = field(
        default=UNSET, name="code:text"
    )
    classification: Annotated[str, Meta(max_length=200, description="A class or therapeutic group")] | UnsetType = UNSET
    ingredient_code: Annotated[str, Meta(max_length=200)] | UnsetType = field(default=UNSET, name="ingredient-code")
    status: Literal["active"] | UnsetType = UNSET
    count: Annotated[int, Meta(ge=0, le=500)] = field(default=50, name="_count")
    cursor: Annotated[str, Meta(max_length=100, description="From the link `next`")] = ""
    format_: Literal["json", "application/json", "application/fhir+json"] | UnsetType = field(
        default=UNSET, name="_format"
    )


SEARCHED = {"_id": "token", "code": "token", "classification": "token", "ingredient-code": "token", "status": "token"}
_HOW: Mapping[str, object] = {
    "problem": OperationOutcome, "problem_mimetype": FHIR_JSON, "mimetype": FHIR_JSON, "problems": (404,)
}  # fmt: skip


@blueprint.get("/metadata")
@operation("What this server can do with FHIR", answer=CapabilityStatement, query=NoQuery, **{**_HOW, "problems": ()})
def metadata() -> Response:
    """The capability statement: read and search of MedicationKnowledge, search of DetectedIssue, FHIR R4."""
    query(NoQuery)
    resource = {
        "type": "MedicationKnowledge",
        "interaction": [{"code": "read"}, {"code": "search-type"}],
        "searchParam": [{"name": name, "type": kind} for name, kind in SEARCHED.items()],
    }
    issues = {
        "type": "DetectedIssue",
        "interaction": [{"code": "search-type"}],
        "searchParam": [{"name": "patient", "type": "reference"}],
    }
    answer = CapabilityStatement(
        "active", WRITTEN, "instance", "4.0.1", ("json",), {"description": "rxrec"},
        ({"mode": "server", "resource": [resource, issues]},),
    )  # fmt: skip
    return reply(answer, etag(FORMAT, "metadata"), FHIR_JSON)


@blueprint.get("/MedicationKnowledge/<id>")
@operation("Read a drug", answer=MedicationKnowledge, query=NoQuery, path={"id": "From a search"}, **_HOW)
def read(id: str) -> Response:  # noqa: A002  (FHIR's word)
    """One drug: its codes, other names, ingredients, classes and formulary status."""
    query(NoQuery)
    catalogue = reference().catalogue(serving().release())
    one, formulary = _by_id(catalogue).get(id), reference().formulary
    if one is None:
        raise UnknownTreatment("no drug of that id")
    tag = etag(FORMAT, catalogue.fingerprint, formulary.version, request.path)
    return unchanged(tag) or reply(_resource(catalogue, one, formulary), tag, FHIR_JSON)


@blueprint.get("/MedicationKnowledge")
@operation("Search drugs", answer=Bundle, query=KnowledgeQuery, **{**_HOW, "problems": ()})
def search() -> Response:
    """Drugs by code, name, class or ingredient, all that is asked for together; a misspelt name finds nothing here."""
    asked = query(KnowledgeQuery)
    catalogue = reference().catalogue(serving().release())
    formulary = reference().formulary
    # a client repeats the link of a page, with its parameters in any order
    words = [f"{name}={value}" for name, value in sorted(request.args.items(multi=True)) if name != "cursor"]
    tag = etag(FORMAT, catalogue.fingerprint, formulary.version, request.root_url, asked.cursor, *words)
    if kept := unchanged(tag):
        return kept
    hits = _selected(catalogue, asked)
    depends = [word for word in words if not word.startswith("_count=")]
    try:
        page = catalogue.page(hits, asked.count or 1, asked.cursor, ("fhir", *depends))
    except BadCursor as error:
        raise BadParameter("cursor", str(error)) from None
    shown = page.hits if asked.count else ()
    links = [Link("self", request.url)]
    if page.cursor and asked.count:
        arguments = [*((n, v) for n, v in request.args.items(multi=True) if n != "cursor"), ("cursor", page.cursor)]
        links.append(Link("next", f"{request.base_url}?{urlencode(arguments)}"))
    entries = [_resource(catalogue, hit.treatment, formulary) for hit in shown]
    answer = Bundle(
        type="searchset",
        total=page.total,
        link=tuple(links),
        entry=tuple(Entry(f"{request.base_url}/{one.id}", one, Match("match")) for one in entries),
    )
    return reply(answer, tag, FHIR_JSON)


@blueprint.errorhandler(EngineError)
def engine_error(error: EngineError) -> Response:
    kind = kind_of(error)
    if kind.status == 500:
        log_failure(error)
    code = {400: "invalid", 404: "not-found", 503: "transient"}.get(kind.status, "exception")
    if isinstance(error, BadParameter):
        issue = Issue("error", code, str(error), (error.parameter,))
    else:
        issue = Issue("error", code, EN[f"problem.{kind.slug}.detail"])
    return _outcome(issue, kind.status)


@blueprint.errorhandler(HTTPException)
def http_error(error: HTTPException) -> Response | HTTPException:
    status = error.code or 500
    if status < 400:
        return error
    return _outcome(Issue("error", "exception" if status >= 500 else "processing", error.name), status)


def _outcome(issue: Issue, status: int) -> Response:
    response = Response(msgspec.json.encode(OperationOutcome((issue,))), status=status, mimetype=FHIR_JSON)
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


# --- selecting and writing -------------------------------------------------------------------------------------------


def _selected(catalogue: Catalogue, asked: KnowledgeQuery) -> Sequence[Hit]:
    group = asked.classification
    classes = None if isinstance(group, UnsetType) else catalogue.classes(group.rpartition("|")[2])

    def right(one: Treatment) -> bool:
        if one.kind != "drug" or (not isinstance(asked.id_, UnsetType) and _id(one.code) != asked.id_):
            return False
        if not isinstance(asked.code, UnsetType) and not _means(asked.code, one.code):
            return False
        if classes is not None and one.group not in classes and one.chapter not in classes:
            return False
        wanted = asked.ingredient_code
        return isinstance(wanted, UnsetType) or any(_means(wanted, code) for code in one.ingredients)

    text = "" if isinstance(asked.code_text, UnsetType) else asked.code_text
    return [hit for hit in catalogue.search(text, right) if hit.matched != "typo"]


def _means(token: str, code: str) -> bool:
    """Whether a token of FHIR ('system|code', '|code', 'code') is this code of ours."""
    system, bar, value = token.rpartition("|")
    ours, _, theirs = code.partition(":")
    if bar and system == OURS:
        return value == code
    if bar and system:
        return system == RXNORM and ours == "rxnorm" and value == theirs
    return value == code or (ours == "rxnorm" and value == theirs)


def _resource(catalogue: Catalogue, one: Treatment, formulary: Formulary) -> MedicationKnowledge:
    classes = [
        Classification(CodeableConcept(text=what), (CodeableConcept(text=name),))
        for what, name in _classes(one, formulary)
    ]
    parts = [catalogue.by_code.get(code) for code in one.ingredients]
    return MedicationKnowledge(
        id=_id(one.code),
        code=_concept(one.code, one.name),
        status="active",
        synonym=(*one.synonyms, *one.brands),
        ingredient=tuple(Ingredient(_concept(part.code, part.name)) for part in parts if part is not None),
        # what is done here; a route of a few may be a slip of the pen, and is told as data and not as an intention
        intended_route=tuple(
            CodeableConcept((Coding(OUR_ROUTES, told.route),), EN[f"route.{told.route}"])
            for told in one.routes
            if told.route != NOT_KNOWN and not told.patients.startswith("<")
        ),
        medicine_classification=tuple(classes),
    )


def _classes(one: Treatment, formulary: Formulary) -> list[tuple[str, str]]:
    found = [("Therapeutic class", one.group), ("Therapeutic group", one.chapter)]
    status = formulary.status(one.code)
    if status != "unknown":
        listing = formulary.listings.get(one.code)
        found += [("Formulary status", status)]
        found += [("Formulary tier", listing.tier), ("Formulary restriction", listing.restriction)] if listing else []
    return [(what, name) for what, name in found if name]


def _concept(code: str, name: str) -> CodeableConcept:
    system, _, value = code.partition(":")
    rxnorm = (Coding(RXNORM, value, name),) if system == "rxnorm" and value.isdigit() else ()
    return CodeableConcept((*rxnorm, Coding(OURS, code, name)), name)


def _id(code: str) -> str:
    """A resource's id: 1 to 64 letters, digits, '-' and '.'."""
    if _PLAIN.fullmatch(code):
        return code.replace(":", "-", 1).replace("+", ".")
    return "x-" + hashlib.sha256(code.encode(errors="surrogatepass")).hexdigest()[:40]


@lru_cache(maxsize=2)
def _by_id(catalogue: Catalogue) -> Mapping[str, Treatment]:
    return {_id(one.code): one for one in reversed(catalogue.treatments) if one.kind == "drug"}
