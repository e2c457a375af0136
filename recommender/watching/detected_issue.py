"""An event in, the FHIR R4 DetectedIssue that it is out. FHIR's own words stay in this file."""

from __future__ import annotations

import re
from typing import Any

from recommender.observations import Event, time_of

ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
EVENT_ID, PATIENT_ID, READING_ID = "urn:rxrec:event", "urn:rxrec:patient", "urn:rxrec:observation"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
SEVERITY = {"contraindicated": "high", "serious": "high", "caution": "moderate"}
TITLES = {
    ("threshold", "raised"): "Threshold crossed",
    ("threshold", "ended"): "Back within the threshold",
    ("therapy", "raised"): "New warning about a current drug",
    ("therapy", "ended"): "A warning about a current drug no longer holds",
    ("withheld", "raised"): "Suggestion newly withheld",
    ("withheld", "ended"): "Suggestion possible again",
}
_FHIR_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


def detected_issue(event: Event) -> dict[str, Any]:
    """The resource. `status` is final where it holds, and `cancelled` where it no longer does; it tells the patient by
    identifier, and by reference too where the id may be one of FHIR's."""
    alarm = event.alarm
    patient: dict[str, Any] = {"identifier": {"system": PATIENT_ID, "value": event.patient_id}}
    if _FHIR_ID.fullmatch(event.patient_id):
        patient = {"reference": f"Patient/{event.patient_id}", **patient}
    code: dict[str, Any] = {"text": title(event)}
    if alarm.kind != "threshold":
        code = {"coding": [{"system": ACT_CODE, "code": "OBSA", "display": "Observation Alert"}], **code}
    issue: dict[str, Any] = {
        "resourceType": "DetectedIssue",
        "id": event.id,
        "identifier": [{"system": EVENT_ID, "value": event.id}],
        "status": "final" if event.change == "raised" else "cancelled",
        "code": code,
        "severity": SEVERITY[alarm.severity],
        "patient": patient,
        "identifiedDateTime": time_of(event.at).isoformat(timespec="milliseconds"),
        "author": {"display": "rxrec"},
        "evidence": [{"detail": [_measured(event)]}],
        "detail": sentence(event),
        "mitigation": [{"action": {"text": alarm.management}}],
    }
    if alarm.drug:
        issue["implicated"] = [_drug(alarm.drug, alarm.drug_name)]
    return issue


def title(event: Event) -> str:
    return TITLES[event.alarm.kind, event.change]


def sentence(event: Event) -> str:
    """What holds, of what, because of what, and by which source."""
    alarm = event.alarm
    of = f"{alarm.drug_name}: " if alarm.drug_name else ""
    because = f" ({alarm.because})" if alarm.because else ""
    held = "" if event.change == "raised" else "No longer holds: "
    return f"{held}{of}{alarm.message}{because} Source: {alarm.source}."


def _measured(event: Event) -> dict[str, Any]:
    one = event.observation
    taken = time_of(one.taken).isoformat(timespec="seconds")
    return {
        "type": "Observation",
        "identifier": {"system": READING_ID, "value": one.id},
        "display": f"{one.name} {one.value:.4g} {one.unit}, {taken}",
    }


def _drug(code: str, name: str) -> dict[str, Any]:
    system, _, number = code.partition(":")
    found: dict[str, Any] = {"type": "Medication", "display": name}
    if system == "rxnorm":
        found["identifier"] = {"system": RXNORM, "value": number}
    return found
