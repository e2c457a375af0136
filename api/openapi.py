"""The routes and their types in, the OpenAPI 3.1 document at /openapi.json and a readable page of it at /docs out.

A route says what it takes and gives with `@operation(...)`, or `api/described.py` says it for it; its docstring is the
description. Schemas are made by msgspec from the very types that requests are checked by and answers are written from.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from flask import Blueprint, Flask, Response, current_app, make_response, render_template
from markupsafe import Markup, escape

from api.described import OF_ENDPOINT
from api.operations import Operation
from api.typed import JSON, etag, reply

PATIENT_ROOMS = {"patients", "recommendations", "feedback", "observations", "events"}
REF = "#/components/schemas/{name}"
DESCRIPTION = (
    "Treatment suggestions of a hospital's own records, and what its pharmacy asks about drugs. Suggestions support a "
    "person's decision and never decide. Every error is a problem (RFC 9457); decide by its `type`. Every answer has "
    "`X-Request-ID`, and takes one. Lists have an `ETag`: send it back as `If-None-Match`. `Accept-Encoding: gzip` is "
    "honoured."
)
blueprint = Blueprint("openapi", __name__)


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """This document."""
    text = _document()
    return reply(msgspec.Raw(text), etag(text.decode()))


@blueprint.get("/docs")
def docs() -> Response:
    """The same for people: one page, no script."""
    doc = msgspec.json.decode(_document())
    return make_response(render_template("docs.html", doc=doc, resolve=_name_of, said=_with_code))


def _document() -> bytes:
    """As JSON; made once an application."""
    made = current_app.extensions.get("rxrec_openapi")
    if made is None:
        made = current_app.extensions["rxrec_openapi"] = msgspec.json.encode(document(current_app))
    assert isinstance(made, bytes)  # noqa: S101
    return made


def documented(app: Flask) -> dict[tuple[str, str], tuple[Operation, str, str]]:
    """(path, method) -> operation, its id and its description, of every route that says what it is."""
    found = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        view = app.view_functions[rule.endpoint]
        said = getattr(view, "operation", None) or OF_ENDPOINT.get(rule.endpoint)
        if said is not None:
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            name = rule.endpoint.replace(".", "-").replace("_", "-")
            for method in sorted((rule.methods or set()) & {"GET", "POST", "PUT", "DELETE"}):
                found[path, method.lower()] = said, name, inspect.cleandoc(view.__doc__ or "")
    return found


def document(app: Flask) -> dict[str, Any]:
    """The whole document."""
    routes = documented(app)
    types: dict[Any, None] = {}
    for said, _, _ in routes.values():
        types |= dict.fromkeys((said.answer, said.problem, *said.body, *([said.query] if said.query else [])))
    schemas, components = msgspec.json.schema_components(types, ref_template=REF)
    schema = dict(zip(types, schemas, strict=True))
    for one in components.values():
        one["description"] = inspect.cleandoc(one.get("description", ""))
    paths: dict[str, dict[str, Any]] = {}
    for (path, method), (said, name, text) in routes.items():
        paths.setdefault(path, {})[method] = _operation(path, said, name, text, schema, components)
    for said, _, _ in routes.values():  # parameters stand with their routes, not among the types
        components.pop(getattr(said.query, "__name__", ""), None)
    return {
        "openapi": "3.1.0",
        "info": {"title": "rxrec", "version": "1", "description": DESCRIPTION},
        "paths": paths,
        "components": {"schemas": dict(sorted(components.items()))},
    }


def _operation(
    path: str, said: Operation, name: str, text: str, schema: Mapping[Any, Any], components: Mapping[str, Any]
) -> dict[str, Any]:
    parameters = [
        {
            "name": one,
            "in": "path",
            "required": True,
            "description": said.path.get(one, ""),
            "schema": {"type": "string"},
        }
        for one in re.findall(r"{(\w+)}", path)
    ]
    if said.query is not None:
        properties = components[said.query.__name__]["properties"]
        required = components[said.query.__name__].get("required", ())
        for one, of in properties.items():
            about = {key: value for key, value in of.items() if key != "description"}
            parameters.append(
                {"name": one, "in": "query", "required": one in required, "schema": about}
                | ({"description": of["description"]} if "description" in of else {})
            )
    answer = schema[said.answer]
    content: dict[str, Any] = {said.mimetype: {"schema": answer}}
    content |= {media: {"schema": {"type": "string"}} for media in said.lines}
    headers = {"X-Request-ID": {"schema": {"type": "string"}, "description": "This request's id, in the log too"}}
    if said.cached:
        headers["ETag"] = {"schema": {"type": "string"}, "description": "Send it back as If-None-Match"}
    answers: dict[str, Any] = {
        str(status): {"description": HTTPStatus(status).phrase, "headers": headers, "content": content}
        for status in said.status
    }
    if said.cached:
        answers["304"] = {"description": "Not changed since the ETag that was sent"}
    problem = {said.problem_mimetype: {"schema": schema[said.problem]}}
    for status in sorted({*said.usual, *said.problems}):
        answers[str(status)] = {"description": HTTPStatus(status).phrase, "content": problem}
    whole = {
        "operationId": name,
        "summary": said.summary,
        "description": text,
        "tags": [_tag(path)],
        "parameters": parameters,
        "responses": answers,
    }
    if said.body:
        bodies = [schema[one] for one in said.body]
        takes = bodies[0] if len(bodies) == 1 else {"anyOf": bodies}
        whole["requestBody"] = {"required": True, "content": {JSON: {"schema": takes}}}
    return whole


def _tag(path: str) -> str:
    first = path.strip("/").split("/")
    return {"health": "health", "fhir": "FHIR", "cds-services": "CDS Hooks"}.get(first[0]) or (
        "patients" if set(first[1:2]) & PATIENT_ROOMS else "pharmacy"
    )


def _with_code(text: str) -> Markup:
    """A description as HTML: what stands between `backticks` is code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  (escaped, and ours)


def _name_of(schema: Mapping[str, Any]) -> str:
    """What a schema says in a few words: for the page."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_name_of(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_name_of(schema.get('items', {}))}"
    kind = schema.get("type", "any")
    bounds = [f"{word} {schema[name]}" for name, word in (("minimum", "from"), ("maximum", "to")) if name in schema]
    return " ".join([str(kind), *bounds])
