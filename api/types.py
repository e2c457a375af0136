"""What the pharmacy's routes take and give, as frozen values: checked, written and documented from these classes alone.

Requests refuse members that they do not know: a filter that was misspelt and ignored would give a list that is not what
was asked for.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from recommender.given import COUNTED, ByRoute
from recommender.snapshot import GROUPS

Kind = Literal["drug", "procedure", "care_plan", "care_resource"]
Severity = Literal["contraindicated", "serious", "caution"]
FormularyStatus = Literal["formulary", "restricted", "non_formulary"]
DrugText = Annotated[str, Meta(min_length=1, max_length=200)]
PatientCount = Annotated[
    str, Meta(description='About how many patients: to the ten, or "<11", none included', examples=["1410", "<11"])
]
WISHES = (*GROUPS, *COUNTED)
RouteWish = Annotated[
    Literal[WISHES],  # type: ignore[valid-type]
    Meta(
        description="Drugs that patients here had by this route, as far as the records tell: by the order, or by the "
        "form in the drug's name (`oral tablet`). `injected`: any injection; `not_known`: no record here tells a route "
        "of it. `local`: 95% or more of its orders here are for the skin, the eye, the ear or to rinse with; "
        "`systemic`: every other drug. A drug is an ingredient: which of its forms is meant is not told"
    ),
]

MOST_DRUGS = 200
LONGEST_PAGE = 500


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """What a route takes."""


class Told(Struct, frozen=True):
    """What a route gives. New members may come: ignore those that you do not know."""


# --- requests --------------------------------------------------------------------------------------------------------


class TreatmentQuery(Request, frozen=True):
    """What to list, and how."""

    q: Annotated[
        str,
        Meta(max_length=200, description="A beginning of a name, brand or synonym; a code; a misspelt name, at last"),
    ] = ""
    rxcui: Annotated[str, Meta(pattern=r"^[0-9]{1,9}$", description="RxNorm's number of a drug")] | UnsetType = UNSET
    class_: Annotated[str, Meta(max_length=200, description="A class or therapeutic group, whole")] | UnsetType = field(
        default=UNSET, name="class"
    )
    kind: Kind | UnsetType = UNSET
    formulary: Annotated[FormularyStatus, Meta(description="Drugs of this status only")] | UnsetType = UNSET
    on_record: Annotated[bool, Meta(description="Whether the hospital's own data hold it")] | UnsetType = UNSET
    route: RouteWish | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=LONGEST_PAGE, description="Longest page (of JSON)")] = 50
    cursor: Annotated[str, Meta(max_length=100, description="`next` of the page before")] = ""
    format: (
        Annotated[
            Literal["json", "csv", "ndjson"],
            Meta(description="In place of `Accept`; CSV and NDJSON hold all, without pages"),
        ]
        | UnsetType
    ) = UNSET


class NoQuery(Request, frozen=True):
    """A route without parameters."""


class ListQuery(Request, frozen=True):
    """How long a list."""

    limit: Annotated[int, Meta(ge=1, le=LONGEST_PAGE)] = 50


class TogetherQuery(Request, frozen=True):
    """How long a list, and of what kind. Left out: drugs beside a treatment, all therapies of a condition."""

    kind: Kind | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=LONGEST_PAGE)] = 50


class InteractionRequest(Request, frozen=True):
    """The drugs of one person, each as a code or a name."""

    drugs: Annotated[
        list[DrugText], Meta(min_length=1, max_length=MOST_DRUGS, examples=[["warfarin", "rxnorm:5640", "Zocor 20 mg"]])
    ]


# --- answers ---------------------------------------------------------------------------------------------------------


class Named(Told, frozen=True):
    """A code and its name."""

    code: str
    name: str


class FormularyEntry(Told, frozen=True):
    """Where the hospital's formulary has a drug. `not_understood` lines may be about it: see /v1/formulary."""

    status: FormularyStatus
    tier: str
    restriction: str


class TreatmentLine(Told, frozen=True):
    """One treatment in a list. `formulary` is null where none was imported, and for what is no drug."""

    code: str
    kind: Kind
    name: str
    class_: str = field(name="class")
    therapeutic_group: str
    brands: tuple[str, ...]
    on_record: Annotated[bool, Meta(description="Whether the hospital's own data hold it")]
    patients: PatientCount | None
    routes: Annotated[
        tuple[ByRoute, ...],
        Meta(description="By which patients here had the drug, the most usual first; empty where nobody is known to"),
    ]
    formulary: FormularyEntry | None
    matched: Annotated[
        Literal["code", "name", "brand", "synonym", "typo"] | None,
        Meta(description="How `q` found it. A typo is a guess: let a person confirm it"),
    ] = None
    spelling: Annotated[str, Meta(description="Which spelling of it `q` found")] = ""


class TreatmentList(Told, frozen=True):
    """A page. `next` is the cursor of the one after it, null on the last."""

    version: str
    formulary_version: str | None
    total: int
    items: tuple[TreatmentLine, ...]
    next: str | None
    message: str | None


class RuleText(Told, frozen=True):
    """A rule of interaction or duplicate therapy. `effect` and `mechanism` are empty for duplicates."""

    rule: str
    kind: Literal["interaction", "duplicate"]
    severity: Severity
    effect: str
    mechanism: str
    message: str
    management: str
    source: str
    reviewed: str
    origin: Annotated[str, Meta(description='"shipped", or "site" for a rule of the hospital')]


class RuleWith(RuleText, frozen=True):
    """A rule, and the ingredients with which it holds."""

    ingredient: Named
    with_: tuple[Named, ...] = field(name="with")


class DrugInteractions(Told, frozen=True):
    """All interactions of one drug. Where `checked` is false, an empty list says nothing at all."""

    checked: bool
    statement: str
    rules_version: str
    items: tuple[RuleWith, ...]


class LabelledUses(Told, frozen=True):
    """Conditions that a drug has an FDA label for, as far as they are on file: what is absent may still be labelled."""

    statement: str
    items: tuple[Named, ...]


class Treatment(TreatmentLine, frozen=True, kw_only=True):
    """All that is known of one treatment."""

    version: str
    synonyms: tuple[str, ...]
    ingredients: tuple[Named, ...]
    routes_statement: Annotated[str, Meta(description="What `routes` tells, or why it is empty")]
    interactions: DrugInteractions
    indications: LabelledUses


class Alternatives(Told, frozen=True):
    """Other drugs of the same class: on the formulary first, then those that more patients had, then by name."""

    version: str
    code: str
    name: str
    class_: str = field(name="class")
    statement: str
    items: tuple[TreatmentLine, ...]


class Together(Told, frozen=True):
    """A treatment and how often it stands together with what was asked about. `share`: of those patients, to the
    hundredth; `share_overall`: of all patients. Both are worked out from the counts as they are told."""

    code: str
    kind: Kind
    name: str
    class_: str = field(name="class")
    patients: PatientCount
    share: float
    share_overall: float
    formulary: FormularyEntry | None
    labelled: Annotated[
        bool | None,
        Meta(
            description="Whether a label for the condition is on file; null beside a treatment, or where none is known"
        ),
    ] = None


class TogetherList(Told, frozen=True):
    """The most frequent first. `hidden`: how many more there may be, each of fewer than 11 patients or of none."""

    version: str
    code: str
    name: str
    patients: PatientCount | None
    items: tuple[Together, ...]
    hidden: int
    message: str | None


class CheckedDrug(Told, frozen=True):
    """A drug that was understood. `place`: in the list that was sent, from 0."""

    place: int
    given: str
    code: str
    name: str
    ingredients: tuple[Named, ...]


class UncheckedDrug(Told, frozen=True):
    """A drug that was not checked, why, and what it may mean."""

    place: int
    given: str
    why: str
    guesses: tuple[Named, ...]


class RuleHolds(RuleText, frozen=True):
    """A rule that holds between these drugs of the list (`places` in it)."""

    drugs: tuple[Named, ...]
    places: tuple[int, ...]


class RulesStamp(Told, frozen=True):
    """Which rules: `reviewed` is the newest day on which one was reviewed."""

    version: str
    reviewed: str


class InteractionAnswer(Told, frozen=True):
    """Show `statement` with the findings. `complete` is false where any drug was not compared with all others: then
    no finding does not mean no interaction."""

    statement: str
    complete: bool
    rules: RulesStamp
    findings: tuple[RuleHolds, ...]
    checked: tuple[CheckedDrug, ...]
    not_checked: tuple[UncheckedDrug, ...]


class FormularyLine(Told, frozen=True):
    """A line of the formulary whose drug is not understood."""

    row: int
    drug: str
    why: str


class FormularyAnswer(Told, frozen=True):
    """The formulary as it was read. `imported` is false where there is none."""

    imported: bool
    version: str | None
    lines: int
    drugs: int
    counts: dict[str, int]
    not_understood: tuple[FormularyLine, ...]


class Problem(Told, frozen=True, omit_defaults=True):
    """RFC 9457. Decide by `type`: it is stable, the words are not."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    parameter: str = ""
