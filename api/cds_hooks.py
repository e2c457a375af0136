"""A record system's CDS Hooks 2.0 calls in, cards out: suggestions while a chart opens, safety while drugs are ordered.

The chart comes with the call (prefetch) or is the published one; `fhirServer` and `fhirAuthorization` are accepted and
not used: nothing is asked of anybody. Cards are made in `cds_cards`, charts are read in `cds_reading`, and what becomes
of a card is stored by `cds_feedback`. The page for integrators is docs/cds-hooks.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from api.bodies import json_body
from api.cds_cards import UNPUBLISHED, Json, Maker
from api.cds_feedback import take
from api.cds_reading import PREFETCH, Hooked, drafted, hooked, selected
from api.cds_tokens import Sealer
from api.cds_types import (
    Cards,
    Discovery,
    Feedback,
    FeedbackTaken,
    HookCall,
    OrderSelectCall,
    OrderSignCall,
    PatientViewCall,
    PatientViewContext,
    Service,
)
from api.charts import with_lacks
from api.errors import BadParameter
from api.feedback import log
from api.operations import operation
from api.options import Wanted, answered
from api.reference import reference
from api.typed import checked, reply
from recommender.orders import Alternative, Judged, alternatives, judged

Call = TypeVar("Call", bound=HookCall)
FIRST = 3  # suggestions shown while a chart opens: more would not be read
VIEW, SELECT, SIGN = "treatment-suggestions", "order-select-check", "order-sign-check"
REQUIREMENTS = (
    "Without prefetch the patient must be in the nightly data. Prefetch that is left out, null, cut off or an "
    "OperationOutcome counts as not checked. The FHIR server is never called."
)
SERVICES = (
    Service(
        hook="patient-view",
        title="Treatment suggestions",
        description="Treatments that patients with similar charts were given, screened against this chart, with "
        "reasons.",
        id=VIEW,
        prefetch=PREFETCH,
        usageRequirements=REQUIREMENTS,
    ),
    Service(
        hook="order-select",
        title="Check of a selected drug",
        description="Screens a selected drug against the chart and the other drafts; suggests safer or better "
        "supported drugs of its class.",
        id=SELECT,
        prefetch=PREFETCH,
        usageRequirements=REQUIREMENTS,
    ),
    Service(
        hook="order-sign",
        title="Safety check before signing",
        description="Screens all drafted drugs against the chart and each other; silent when there is nothing to say.",
        id=SIGN,
        prefetch=PREFETCH,
        usageRequirements=REQUIREMENTS,
    ),
)
OPEN = {  # the list of services is no secret; calls are answered to programs, and to no page of another origin
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, OPTIONS",
    "Access-Control-Allow-Headers": "Accept, Authorization, Content-Type, If-None-Match, X-Request-ID",
    "Access-Control-Expose-Headers": "ETag, X-Request-ID",
    "Access-Control-Max-Age": "86400",
}

blueprint = Blueprint("cds_hooks", __name__, url_prefix="/cds-services")


@blueprint.get("")
@operation("The CDS Hooks services", answer=Discovery, usual=(500,))
def discovery() -> Response:
    """CDS Hooks 2.0 discovery: which hooks are answered, and the prefetch that each asks for."""
    answer = Discovery(SERVICES)
    return reply(answer, hashlib.sha256(msgspec.json.encode(answer)).hexdigest()[:32])


@blueprint.after_request
def allow(response: Response) -> Response:
    """CORS for the list of services, its preflight included."""
    if request.path == "/cds-services":
        response.headers.update(OPEN)
    return response


@blueprint.post(f"/{VIEW}")
@operation(
    "Cards while a chart opens", answer=Cards, body=(PatientViewCall,), problems=(412, 413, 415), cached=False
)  # fmt: skip
def treatment_suggestions() -> Response:
    """`patient-view`: a card for each of the first suggestions, and one for what was not checked or is withheld."""
    call = _call(PatientViewCall)
    now = datetime.now(UTC)
    found = hooked(call, call.context, now, "list")
    assert found.desk is not None and found.entry is not None  # noqa: S101  (a list was asked for)
    reading = found.desk.reading(found.chart, found.known if found.here else None, found.elapsed)
    answer = answered(found.desk, found.entry, reading, call.context.patientId, Wanted(n=FIRST), found.basis)
    if found.here:
        answer = with_lacks(answer, found.lacks)
    return _cards(_maker(VIEW, call, call.context, found).suggestions(answer))


@blueprint.post(f"/{SELECT}")
@operation(
    "Cards while a drug is selected", answer=Cards, body=(OrderSelectCall,), problems=(412, 413, 415), cached=False
)  # fmt: skip
def order_select_check() -> Response:
    """`order-select`: the selected drugs are screened against the chart and the other drafts; what speaks against one
    comes with safer alternatives of its class as drafts."""
    call = _call(OrderSelectCall)
    found = hooked(call, call.context, datetime.now(UTC), "alternatives")
    drafts = drafted(call.context.draftOrders, call.context.patientId, found.screen.vocabulary)
    which = selected(drafts, call.context.selections)
    each = judged(found.screen, found.chart, found.known, [one.draft for one in drafts], which, found.elapsed)
    others = [_alternatives(found, one) for one in each]
    told = list(zip(sorted(which), each, others, strict=True))
    return _cards(_maker(SELECT, call, call.context, found).orders(drafts, told, found))


@blueprint.post(f"/{SIGN}")
@operation(
    "Cards before orders are signed", answer=Cards, body=(OrderSignCall,), problems=(412, 413, 415), cached=False
)  # fmt: skip
def order_sign_check() -> Response:
    """`order-sign`: all drafted drugs are screened against the chart and each other. No card: nothing to say."""
    call = _call(OrderSignCall)
    found = hooked(call, call.context, datetime.now(UTC), "rules")
    drafts = drafted(call.context.draftOrders, call.context.patientId, found.screen.vocabulary)
    which = range(len(drafts))
    each = judged(found.screen, found.chart, found.known, [one.draft for one in drafts], which, found.elapsed)
    nothing: Sequence[Alternative] = ()
    told = [(place, one, nothing) for place, one in zip(which, each, strict=True)]
    return _cards(_maker(SIGN, call, call.context, found).orders(drafts, told, found))


@blueprint.post("/<service>/feedback")
@operation(
    "What became of cards",
    answer=FeedbackTaken,
    body=(Feedback,),
    path={"service": f"One of {VIEW}, {SELECT}, {SIGN}"},
    problems=(404, 413, 415),
    cached=False,
)
def feedback(service: str) -> Response:
    """Stored once, however often it is reported. A card that is not of this installation is named by its position."""
    if service not in {one.id for one in SERVICES}:
        raise NotFound
    told = checked(json_body(), Feedback)
    return reply(take(service, told, _sealer()))


def _call(of: type[Call]) -> Call:
    """The call, checked. Raises BadParameter, naming what is missing."""
    call = checked(json_body(), of)
    if call.fhirAuthorization is not None and not call.fhirServer:
        raise BadParameter("fhirServer", "fhirServer is missing: it is needed with fhirAuthorization")
    return call


def _alternatives(found: Hooked, one: Judged) -> Sequence[Alternative]:
    if found.desk is None or found.entry is None:
        return ()
    return alternatives(found.desk, found.entry, found.basis, one)


def _maker(service: str, call: HookCall, context: PatientViewContext, found: Hooked) -> Maker:
    version = found.desk.release.version if found.desk else UNPUBLISHED
    encounter = (context.encounterId or "").rpartition("/")[2]
    rules, about = reference().screen.rules, (service, call.hookInstance, context.patientId, encounter, version)
    return Maker(*about, _sealer(), rules, before_signing=service == SIGN)


def _sealer() -> Sealer | None:
    return Sealer.of(log().file.parent)


def _cards(cards: list[Json]) -> Response:
    return reply(Cards(cards))
