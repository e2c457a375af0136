"""One access to one patient's data in, the FHIR R4 AuditEvent of it out, in the manner of IHE BALP's PatientRead.

https://profiles.ihe.net/ITI/BALP/: who asked (a person or a program, from which address), what was asked for (a route's
template, never its content), whose data, when, and what became of it. It names the patient, because the question that
it must answer is who saw this patient; it holds nothing of the chart.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

DICOM = "http://dicom.nema.org/resources/ontology/DCM"
TYPES = "http://terminology.hl7.org/CodeSystem/audit-event-type"
ACTIONS = "http://hl7.org/fhir/restful-interaction"
ROLES = "http://terminology.hl7.org/CodeSystem/extra-security-role-type"
OBJECTS = "http://terminology.hl7.org/CodeSystem/object-role"
KINDS = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
PATIENT_ID, USER_ID, REQUEST_ID = "urn:rxrec:patient", "urn:rxrec:user", "urn:rxrec:request"
PROFILES = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
# what was done -> the letter of AuditEvent.action, BALP's profile of it, the FHIR interaction
DONE = {
    "read": ("R", "PatientRead", "read"),
    "create": ("C", "PatientCreate", "create"),
    "delete": ("D", "PatientDelete", "delete"),
}
OUTCOMES = {"given": "0", "refused": "4", "failed": "8"}


class Access(Struct, frozen=True):
    """One patient whose data somebody asked for. An empty `patient_id`: a chart that came in the request itself.

    `outcome`: given; refused (no such patient, or not one of theirs: not told apart to the caller); failed.
    """

    patient_id: str
    user_id: str
    user_name: str
    role: str
    how: str
    address: str
    route: str
    request_id: str
    outcome: str
    done: str = "read"
    status: int = 200


def audit_event(access: Access, recorded: datetime | None = None) -> dict[str, Any]:
    """The resource. `recorded`: UTC; now if left out."""
    letter, profile, interaction = DONE[access.done]
    entity: dict[str, Any] = {
        "type": {"system": KINDS, "code": "1", "display": "Person"},
        "role": {"system": OBJECTS, "code": "1", "display": "Patient"},
    }
    if access.patient_id:
        entity["what"] = {"identifier": {"system": PATIENT_ID, "value": access.patient_id}}
    else:
        entity["what"] = {"display": "the chart in the request"}
    return {
        "resourceType": "AuditEvent",
        "meta": {"profile": [PROFILES + profile]},
        "type": {"system": TYPES, "code": "rest", "display": "RESTful Operation"},
        "subtype": [{"system": ACTIONS, "code": interaction}],
        "action": letter,
        "recorded": (recorded or datetime.now(UTC)).isoformat(timespec="milliseconds"),
        "outcome": OUTCOMES[access.outcome],
        "outcomeDesc": f"HTTP {access.status}",
        "agent": [
            {
                "type": {"coding": [{"system": DICOM, "code": "110153", "display": "Source Role ID"}]},
                "role": [{"text": access.role}],
                "who": {
                    "identifier": {"system": USER_ID, "value": access.user_id},
                    "display": access.user_name,
                },
                "requestor": True,
                "policy": [f"urn:rxrec:sign-in:{access.how}"],
                "network": {"address": access.address, "type": "2"},
            }
        ],
        "source": {"observer": {"display": "rxrec"}, "type": [{"system": DICOM, "code": "110150"}]},
        "entity": [
            entity,
            {
                "what": {"identifier": {"system": REQUEST_ID, "value": access.request_id}},
                "type": {"system": KINDS, "code": "4", "display": "Other"},
                "name": access.route,
            },
        ],
    }


def patient_of(event: dict[str, Any]) -> str:
    """The patient whom an event is about; empty for a chart in a request."""
    what = event["entity"][0]["what"]
    return str(what.get("identifier", {}).get("value", ""))
