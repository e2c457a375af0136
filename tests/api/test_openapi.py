"""The document says what the routes do: whole, valid, and held against the running application by generated input."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from api import create_app
from api.openapi import document, documented
from recommender.settings import Settings
from recommender.store import open_store
from recommender.support import count_support

NOT_FOR_PROGRAMS = ("pages.", "signin.", "openapi.", "backend.", "static")  # beginnings of endpoints
load_all_checks()
HELD = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
        "response_schema_conformance", "negative_data_rejection")  # fmt: skip
REAL = {  # so that not every generated path is one that nobody knows
    "/v1/conditions/{code}/treatments": {"code": "snomed:44054006"},
    "/v1/patients/{patient_id}/recommendations": {"patient_id": "PAT-2"},
    "/fhir/MedicationKnowledge/{id}": {"id": "rxnorm-6809"},
}
A_DRUG = {"code": "rxnorm:6809"}
AN_EVENT = {
    "event_id": "one", "patient_id": "PAT-2", "code": "rxnorm:36567", "kind": "drug", "outcome": "accepted",
    "version": "v1", "occurred": "2025-01-02T10:00:00Z",
}  # fmt: skip
HOOK = "/cds-services/"
A_CONTEXT = {"patientId": "PAT-2", "draftOrders": {"resourceType": "Bundle"}}
BARE = create_app(Settings(workdir=Path("nowhere")))  # opens nothing before a request
ROUTES = sorted(documented(BARE))


@pytest.fixture(scope="module")
def app(redis_server, tiny_snapshot, tiny_matrix, tmp_path_factory):
    """The tiny hospital being served with counts and a formulary, for all generated requests."""
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "formulary.csv").write_text("drug,tier,restriction\nmetformin,1,\nwarfarin,2,haematology\n")
    url = redis_server.url[:-1] + "2"
    given = Settings(workdir=folder, redis_url=url, formulary=str(folder / "formulary.csv"))
    with open_store(given) as store:
        snapshot = tiny_snapshot("v1")
        release = dataclasses.replace(snapshot.release, support=count_support(tiny_matrix))
        store.publish(dataclasses.replace(snapshot, release=release))
        store.activate("v1")
        made = create_app(given, store)
        made.config["LONGEST_HOLD"] = 0  # seconds that an answer without events waits for one
        yield made


@pytest.fixture(scope="module")
def schema(app):
    """The document as the tool reads it, which takes it half a second."""
    return schemathesis.openapi.from_wsgi("/openapi.json", app)


def test_every_route_for_programs_is_in_the_document():
    rules = {rule.rule for rule in BARE.url_map.iter_rules() if not rule.endpoint.startswith(NOT_FOR_PROGRAMS)}
    assert {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule) for rule in rules} == {path for path, _ in ROUTES}


def test_the_document_is_valid_and_says_enough():
    made = document(BARE)
    assert made["openapi"] == "3.1.0"
    for name, schema in made["components"]["schemas"].items():
        jsonschema_rs.Draft202012Validator.__name__  # the dialect of OpenAPI 3.1
        jsonschema_rs.meta.validate({**schema, "$schema": "https://json-schema.org/draft/2020-12/schema"})
        assert schema["description"].strip(), name
    said = re.findall(r'"#/components/schemas/(\w+)"', str(made).replace("'", '"'))
    assert set(said) == set(made["components"]["schemas"])
    for path, method in ROUTES:
        route = made["paths"][path][method]
        assert route["summary"] and route["description"] and "200" in route["responses"]
        assert set(re.findall(r"{(\w+)}", path)) == {p["name"] for p in route["parameters"] if p["in"] == "path"}
    assert len({made["paths"][path][method]["operationId"] for path, method in ROUTES}) == len(ROUTES)


def test_the_page_is_readable_without_script_and_from_elsewhere_nothing(app):
    page = app.test_client().get("/docs")
    assert page.status_code == 200 and "default-src 'none'" in page.headers["Content-Security-Policy"]

    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.tags: list[str] = []
            self.links: list[str] = []
            self.anchors: set[str] = set()

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.tags.append(tag)
            self.links += [value or "" for name, value in attrs if name in ("href", "src")]
            self.anchors |= {value or "" for name, value in attrs if name == "id"}
            assert not {"style", "onclick", "onload"} & {name for name, _ in attrs}

    read = Reader()
    read.feed(page.text)
    assert not {"script", "style", "img", "iframe", "form"} & set(read.tags)
    assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in read.links)
    assert {link[1:] for link in read.links if link.startswith("#")} <= read.anchors
    for path, method in ROUTES:
        assert f"<code>{method.upper()} {path}</code>" in page.text
    for link in {link for link in read.links if link.startswith(("/static/", "/openapi"))}:
        with app.test_client().get(link) as there:
            assert there.status_code == 200, link


@pytest.mark.parametrize(("path", "method"), ROUTES, ids=[f"{method} {path}" for path, method in ROUTES])
def test_no_generated_request_breaks_a_route_or_its_word(schema, path, method):
    """Requests that fit the schema and requests that do not: no fault of ours, and each answer as documented."""
    checks = [check for check in CHECKS.get_all() if check.__name__ in HELD]
    assert len(checks) == len(HELD)
    real = REAL.get(path, A_DRUG if "{code}" in path else {})
    statuses = set()

    def held(mode: GenerationMode, examples: int) -> None:
        @settings(
            max_examples=examples, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=schema[path][method].as_strategy(generation_mode=mode), known=st.booleans())
        def run(case: Any, known: bool) -> None:
            if known and real:
                case.path_parameters = {name: quote(value, safe="") for name, value in real.items()}
            if known and path == "/v1/feedback" and mode is GenerationMode.POSITIVE:
                case.body = AN_EVENT
            if known and HOOK in path and mode is GenerationMode.POSITIVE and "context" in case.body:
                case.body = {**case.body, "context": {**case.body["context"], **A_CONTEXT}, "fhirAuthorization": None}
            for name, value in (case.path_parameters or {}).items():
                case.path_parameters[name] = str(value).replace("/", "").replace("%2F", "") or "x"  # stays in its route
            # the tool asks for gzip and does not unpack it
            answer = case.call_and_validate(checks=checks, headers={"Accept-Encoding": "identity"})
            statuses.add(answer.status_code)

        run()

    route = schema.raw_schema["paths"][path][method]
    asks = "requestBody" in route or bool(route["parameters"])
    held(GenerationMode.POSITIVE, 40 if asks else 2)  # where nothing is asked, every request is the same
    if "requestBody" in route or any(one["in"] == "query" for one in route["parameters"]):
        held(GenerationMode.NEGATIVE, 30)
    assert statuses & {200, 201, 404}, statuses
