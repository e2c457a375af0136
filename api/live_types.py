"""What the routes for a chart in the request and for a batch take and give, as frozen values; documented from these.

A list of the chart that is left out or null is not told: what it would be checked for counts as not checked. An empty
list says that there is none.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from api.answers import Answer
from api.options import LONGEST_CODE, MOST_EXCLUDED
from api.types import Kind, Request, RouteWish, Told

MOST_ENTRIES = 1_000  # of each list
MOST_PATIENTS = 1_000
Code = Annotated[str, Meta(max_length=LONGEST_CODE, examples=["rxnorm:6809", "icd10cm:E11.9", "loinc:2160-0"])]
Name = Annotated[str, Meta(max_length=500)]
Day = Annotated[str, Meta(max_length=40, examples=["2026-03-05", "2026-03-05T06:07:08Z", "2021"])]


class ChartPatient(Request, frozen=True):
    """Who it is, as far as rules and model ask. Give the date of birth or the age in years, not both."""

    birth_date: Day | None = None
    age: Annotated[float, Meta(ge=0, le=130)] | None = None
    sex: Literal["female", "male", "other", "unknown"] | None = None


class ChartDrug(Request, frozen=True):
    """A drug by code, name or both. Without `stop` it is taken now. route: where the name does not tell it."""

    code: Code = ""
    name: Name = ""
    start: Day | None = None
    stop: Day | None = None
    route: Name = ""


class ChartCondition(Request, frozen=True):
    """A condition by code, name or both. Without `start` it counts as new."""

    code: Code = ""
    name: Name = ""
    start: Day | None = None
    stop: Day | None = None


class ChartAllergy(Request, frozen=True):
    """An allergy by code, name or both: a drug, a class, or a coded finding."""

    code: Code = ""
    name: Name = ""
    start: Day | None = None


class ChartObservation(Request, frozen=True):
    """A number that was measured, by LOINC code. Without `date` it counts as of today; without `unit` as in ours."""

    value: float
    code: Code = ""
    name: Name = ""
    unit: Annotated[str, Meta(max_length=50)] = ""
    date: Day | None = None


class _Options(Request, frozen=True, kw_only=True):
    """What of the list is wanted, in the body or in the query."""

    n: Annotated[int, Meta(ge=1, le=50)] | UnsetType = UNSET
    kind: list[Kind] | UnsetType = UNSET
    class_: Annotated[str, Meta(min_length=1, max_length=200)] | UnsetType = field(default=UNSET, name="class")
    route: RouteWish | UnsetType = UNSET
    exclude: (
        Annotated[list[Annotated[str, Meta(min_length=1, max_length=LONGEST_CODE)]], Meta(max_length=MOST_EXCLUDED)]
        | UnsetType
    ) = UNSET
    explain: bool | UnsetType = UNSET

    @property
    def options(self) -> dict[str, Any]:
        told: dict[str, Any] = {"n": self.n, "kind": self.kind, "class": self.class_, "route": self.route}
        told |= {"exclude": self.exclude, "explain": self.explain}
        return {name: value for name, value in told.items() if value is not UNSET}


class SentChart(_Options, frozen=True, kw_only=True):
    """A chart in plain JSON, and what of the list is wanted. A list that is left out or null is "not told"."""

    patient: ChartPatient | None = None
    drugs: Annotated[list[ChartDrug], Meta(max_length=MOST_ENTRIES)] | None = None
    conditions: Annotated[list[ChartCondition], Meta(max_length=MOST_ENTRIES)] | None = None
    allergies: Annotated[list[ChartAllergy], Meta(max_length=MOST_ENTRIES)] | None = None
    observations: Annotated[list[ChartObservation], Meta(max_length=MOST_ENTRIES)] | None = None


class SentBundle(Struct, frozen=True):
    """A FHIR R4 Bundle of one patient's resources; the options stand in the query."""

    resourceType: Literal["Bundle"]  # noqa: N815  (FHIR's word)
    type: Annotated[str, Meta(examples=["collection", "searchset", "transaction"])] = "collection"
    entry: list[dict[str, Any]] = field(default_factory=list)


class BatchRequest(_Options, frozen=True, kw_only=True):
    """Whose lists are wanted, and what of them."""

    patient_ids: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=500)]], Meta(min_length=1, max_length=MOST_PATIENTS)
    ]


class BatchProblem(Told, frozen=True):
    """A patient of whom there is no answer. `position`: in the list that was sent, from 0."""

    position: int
    type: str
    title: str


class BatchAnswer(Told, frozen=True):
    """All answers are of one version, in the order of the request; `problems` are the rest of it."""

    version: str
    answers: tuple[Answer, ...]
    problems: tuple[BatchProblem, ...]
