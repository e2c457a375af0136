"""A chart in the request, or the ids of up to 1,000 patients, in; screened suggestions with their source out, as JSON.

A chart that is sent is scored by fold-in, as the night would score it, and forgotten with its request.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain

import msgspec
from flask import Blueprint, Response, request, stream_with_context
from msgspec import Raw

from api.answers import Answer
from api.bodies import json_body
from api.charts import Sent, of_bundle, of_json, scored, with_lacks
from api.errors import BadParameter, kind_of
from api.live_types import BatchAnswer, BatchProblem, BatchRequest, SentBundle, SentChart
from api.observe import log_failure
from api.operations import operation
from api.options import RecommendationQuery, Wanted, answered, body_of, etag, of_members
from api.serving import serving
from api.typed import JSON, checked, reply
from api.words import EN
from recommender.errors import EngineError, StoreCorrupt, UnknownPatient
from recommender.loaders.fhir_bundle import read_bundle
from recommender.offer import Desk
from recommender.offered import elapsed_days
from recommender.snapshot import Entry

NDJSON = "application/x-ndjson"
BUNDLES = ("collection", "searchset", "transaction", "batch", "document", "batch-response", "transaction-response")
LIVE_ID = ""  # a chart that is sent belongs to nobody that we know

blueprint = Blueprint("live", __name__, url_prefix="/v1")


@blueprint.post("/recommendations")
@operation(
    "Suggestions for a chart in the request",
    answer=Answer,
    query=RecommendationQuery,
    body=(SentChart, SentBundle),
    problems=(413, 415),
    cached=False,
)
def of_chart() -> Response:
    """Scored as the night would score it, screened, and forgotten: nothing of the chart is stored or logged.

    The chart is our JSON or a FHIR R4 Bundle. What it does not tell (a list that is left out or null, a type of
    resource of which there is none) is in `not_checked`; an empty list says that there is none. `source` names where
    the suggestions come from: the model ("live"), patients with the leading condition, or what most patients had.
    """
    data, now = json_body(), datetime.now(UTC)
    desk = serving().desk()
    if isinstance(data, dict) and "resourceType" in data:
        sent, wanted = _of_fhir(data, desk, now), of_members(desk.release, {})
    else:
        chart = checked(data, SentChart)
        sent, wanted = of_json(chart, now), of_members(desk.release, chart.options)
    found = scored(desk, sent, wanted.kinds, now)
    answer = answered(desk, found.entry, found.reading, LIVE_ID, wanted, found.basis)
    return reply(with_lacks(answer, found.lacks))


def _of_fhir(data: dict[str, object], desk: Desk, now: datetime) -> Sent:
    bundle = checked(data, SentBundle)
    if bundle.type not in BUNDLES:
        raise BadParameter("type", f"type must be one of {', '.join(BUNDLES)}")
    return of_bundle(read_bundle(data), desk.screen.observed, now)


@blueprint.post("/recommendations/batch")
@operation(
    "Suggestions for many patients",
    answer=BatchAnswer,
    query=RecommendationQuery,
    body=(BatchRequest,),
    lines=(NDJSON,),
    problems=(413, 415),
    cached=False,
)
def of_many() -> Response:
    """Up to 1,000 patients of the version being served, in the order of the request, all answered from one version.

    A patient who is unknown is named by position and fails nobody else. With `Accept: application/x-ndjson` each line
    is `{"position": 0, "answer": {...}}` or a problem with its `position`, sent as it is made.
    """
    asked = checked(json_body(), BatchRequest)
    desk, entries = serving().patients(asked.patient_ids)
    wanted = of_members(desk.release, asked.options)
    lines = _answers(desk, asked.patient_ids, entries, wanted)
    if request.accept_mimetypes.best_match([JSON, NDJSON], default=JSON) == NDJSON:
        first = next(lines)  # what is wrong with the request is told before the first line
        response = Response(stream_with_context(_ndjson(first, lines)), mimetype=NDJSON)
    else:
        made = [one for _, one in lines]
        answers = [Raw(one) for one in made if isinstance(one, bytes)]
        problems = [one for one in made if isinstance(one, BatchProblem)]
        response = reply({"version": desk.release.version, "answers": answers, "problems": problems})
    response.vary.add("Accept")
    return response


def _answers(
    desk: Desk, patient_ids: list[str], entries: Sequence[Entry | EngineError], wanted: Wanted
) -> Iterator[tuple[int, bytes | BatchProblem]]:
    """Each patient's answer as JSON, or the problem, with its position."""
    elapsed = elapsed_days(desk.release)
    for position, (patient_id, entry) in enumerate(zip(patient_ids, entries, strict=True)):
        try:
            if isinstance(entry, EngineError):
                raise entry
            tag = etag(desk, entry, patient_id, wanted, elapsed)
            yield position, body_of(desk, entry, patient_id, wanted, elapsed, tag)
        except (UnknownPatient, StoreCorrupt) as error:
            if isinstance(error, StoreCorrupt):
                log_failure(error)
            kind = kind_of(error)
            yield position, BatchProblem(position, kind.type, EN[f"problem.{kind.slug}.title"])


def _ndjson(
    first: tuple[int, bytes | BatchProblem], lines: Iterator[tuple[int, bytes | BatchProblem]]
) -> Iterator[bytes]:
    for position, one in chain((first,), lines):
        told = one if isinstance(one, BatchProblem) else {"position": position, "answer": Raw(one)}
        yield msgspec.json.encode(told) + b"\n"
