"""Whose data a request asked for in, a line for each in the audit log out, on disk before the answer leaves.

Every way to a patient's data goes through `Serving`, which tells here whose it was (`asked`) and whether they were one
of the caller's (`is_theirs`). Where the log cannot be written, the answer is not given: nothing is served unaudited.
"""

from __future__ import annotations

from flask import Flask, Response, current_app, has_request_context

from api import frame
from api.auth.bearer import PROGRAM_PATHS
from api.auth.rules import RULES, Rule
from api.errors import problem_of
from api.exchange import Exchange, exchange
from api.observe import log_failure
from recommender.audit import Access, AuditLog, audit_event
from recommender.errors import AuditUnavailable
from recommender.settings import Settings

GIVEN, REFUSED, FAILED = "given", "refused", "failed"
NO_RULE = Rule()


def audit(app: Flask, settings: Settings, on: bool) -> None:
    """Write down each access of `app`, unless the settings say that nobody signs in here."""
    if settings.audit == "on" or (not settings.audit and on):
        app.extensions["rxrec_audit"] = AuditLog(settings.workdir, settings.secret_file)
        app.after_request(_written)


def asked(*patient_ids: str) -> None:
    """The request asks for the data of these; to be told before they are read."""
    if has_request_context():
        noted = exchange().patients
        for patient_id in patient_ids:
            noted.setdefault(patient_id, GIVEN)


def is_theirs(patient_id: str) -> bool:
    """Whether the caller may see this patient; noted where not. Answer as for a patient whom nobody knows."""
    if not has_request_context() or exchange().caller.may_see(patient_id):
        return True
    refused(patient_id)
    return False


def refused(patient_id: str) -> None:
    """The request was not given the data of this one, whatever becomes of the rest of it."""
    if has_request_context():
        exchange().patients[patient_id] = REFUSED


def _written(response: Response) -> Response:
    """The answer, once it is written down whose data it holds; else the problem in its place."""
    asked = exchange()
    rule = RULES.get(asked.endpoint or "", NO_RULE)
    noted = asked.patients
    if rule.chart and not noted and asked.caller.role in rule.roles:
        noted = {"": GIVEN}  # a chart that came in the request
    if not noted:
        return response
    try:
        log = current_app.extensions["rxrec_audit"]
        log.append(
            [audit_event(_access(asked, patient_id, said, rule, response)) for patient_id, said in noted.items()]
        )
    except AuditUnavailable as error:
        log_failure(error)
        response.close()
        if asked.path.startswith(PROGRAM_PATHS):
            return problem_of(error)
        return frame.state(error)
    return response


def _access(asked: Exchange, patient_id: str, said: str, rule: Rule, response: Response) -> Access:
    who, status = asked.caller, response.status_code
    outcome = said if said == REFUSED or status < 400 else REFUSED if status in (403, 404) else FAILED
    return Access(
        patient_id,
        who.id,
        who.name,
        who.role,
        who.how,
        asked.remote_addr or "",
        asked.route,
        asked.id,
        outcome,
        rule.done if asked.method == "POST" else "read",
        status,
    )
