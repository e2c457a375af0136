"""Who makes a request, as everything behind the guard sees it: a name for the audit log, a role, and whose data."""

from __future__ import annotations

from dataclasses import dataclass

from recommender.access import Key
from recommender.access.keys import panel_hash

DEMO_ROLE = "demo"


@dataclass(frozen=True)
class Caller:
    """`id` names one for good (a key's id, an issuer and subject), `name` is for people. `how` they came: key, session,
    token, backend, cds, demo. `key`: what a person or program signed in with, where that was a key of ours."""

    id: str
    name: str
    role: str
    how: str
    key: Key | None = None

    def may_see(self, patient_id: str) -> bool:
        """Whether the patient is one of theirs; without a panel every patient is."""
        if self.key is None or self.key.panel is None:
            return True
        return panel_hash(self.key.salt, patient_id) in self.key.panel


DEMO = Caller("demo", "open demonstration", DEMO_ROLE, "demo")
NOBODY = Caller("", "nobody", "", "none")


def of_key(key: Key, how: str) -> Caller:
    return Caller(f"key:{key.id}", key.name, key.role, how, key)
