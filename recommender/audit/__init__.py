"""Accesses to patients' data in, an append-only chained log of FHIR AuditEvents on disk out; and what it says."""

from recommender.audit.chain import AuditLog, Verified
from recommender.audit.events import Access, audit_event

__all__ = ["Access", "AuditLog", "Verified", "audit_event"]
