"""Nothing in; out, the FHIR R4 resources that this server writes, as frozen values with the members that it uses."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

FHIR_JSON = "application/fhir+json"


class Element(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A part of a resource: what is empty is left out, as FHIR asks."""


class Coding(Element, frozen=True):
    """A code of a system."""

    system: str
    code: str
    display: str = ""


class CodeableConcept(Element, frozen=True):
    """A concept, by code and in words."""

    coding: tuple[Coding, ...] = ()
    text: str = ""


class Ingredient(Element, frozen=True):
    """An ingredient of a drug."""

    item_codeable_concept: CodeableConcept
    is_active: bool = True


class Classification(Element, frozen=True):
    """A class that a drug is in, and what sort of class."""

    type: CodeableConcept
    classification: tuple[CodeableConcept, ...]


class MedicationKnowledge(Element, frozen=True, tag_field="resourceType", tag="MedicationKnowledge"):
    """A drug of the catalogue."""

    id: str
    code: CodeableConcept
    status: Literal["active"] | UnsetType = UNSET
    synonym: tuple[str, ...] = ()
    ingredient: tuple[Ingredient, ...] = ()
    intended_route: tuple[CodeableConcept, ...] = ()
    medicine_classification: tuple[Classification, ...] = ()


class Link(Element, frozen=True):
    """Another page."""

    relation: str
    url: str


class Match(Element, frozen=True):
    """Why an entry is there."""

    mode: Literal["match"] | UnsetType = UNSET


class Entry(Element, frozen=True):
    """One drug of a page."""

    full_url: str
    resource: MedicationKnowledge
    search: Match


class Bundle(Element, frozen=True, tag_field="resourceType", tag="Bundle"):
    """A page of drugs."""

    type: Literal["searchset"] | UnsetType = UNSET
    total: int | UnsetType = UNSET
    link: tuple[Link, ...] = ()
    entry: tuple[Entry, ...] = ()


class IssueEntry(Element, frozen=True):
    """One DetectedIssue of a page."""

    full_url: str
    resource: dict[str, Any]
    search: Match


class IssueBundle(Element, frozen=True, tag_field="resourceType", tag="Bundle"):
    """What changed for a patient, as DetectedIssue resources, the newest first."""

    type: Literal["searchset"] | UnsetType = UNSET
    total: int | UnsetType = UNSET
    entry: tuple[IssueEntry, ...] = ()


class Issue(Element, frozen=True):
    """What went wrong."""

    severity: str
    code: str
    diagnostics: str = ""
    expression: tuple[str, ...] = ()


class OperationOutcome(Element, frozen=True, tag_field="resourceType", tag="OperationOutcome"):
    """An error."""

    issue: tuple[Issue, ...]


class CapabilityStatement(Element, frozen=True, tag_field="resourceType", tag="CapabilityStatement"):
    """What this server can do with FHIR."""

    status: str
    date: str
    kind: str
    fhir_version: str
    format: tuple[str, ...]
    implementation: dict[str, str]
    rest: tuple[dict[str, Any], ...]
