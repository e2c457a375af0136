"""The classes of routes that words tell of in, the one that a drug is given by out: "" or SYSTEMIC where that is open.

Classes follow what a prescriber means by a route, and not a terminology: EDQM's and SNOMED CT's finer terms fall into
one of them ('intravenous bolus' is intravenous, 'PEG tube' is enteral).
"""

from __future__ import annotations

from collections.abc import Collection

SYSTEMIC = "systemic"  # into the body, in which way is not told: 'PO/IV', 'implant'
INJECTED = "injected"  # by injection or infusion, into what is not told
INTO_WHAT = ("intravenous", "intramuscular", "subcutaneous")  # what INJECTED leaves open
SWALLOWED = ("oral", "enteral")
# A form may name several routes ("vaginal cream", "nasal spray inhaler"): the earliest of these decides.
ROUTE_ORDER = (
    "ophthalmic", "otic", "nasal", "vaginal", "rectal", "intrauterine", "oromucosal", "transdermal", "inhaled",
    "neuraxial", "dialysis", "irrigation", "intradermal", "infiltration", "sublingual", *SWALLOWED, *INTO_WHAT,
    INJECTED, SYSTEMIC, "topical",
)  # fmt: skip
# What events and counts tell, at most 32: bit n of an event's routes stands for the n-th.
ROUTES = (
    "oral", "sublingual", "oromucosal", "enteral", *INTO_WHAT, INJECTED, "intradermal", "infiltration", "neuraxial",
    "dialysis", "inhaled", "nasal", "ophthalmic", "otic", "topical", "transdermal", "rectal", "vaginal", "intrauterine",
    "irrigation",
)  # fmt: skip


def first_route(told: Collection[str]) -> str:
    """The class of what names these classes; "" where it names none.

    "by mouth or vein" leaves open which, so it is SYSTEMIC, and "into a vein or muscle" is INJECTED. "By mouth or tube"
    is oral: what may be swallowed is.
    """
    found = min((route for route in told if route in ROUTE_ORDER), key=ROUTE_ORDER.index, default="")
    injected = {route for route in told if route in INTO_WHAT}
    if found in ("sublingual", *SWALLOWED) and (injected or INJECTED in told):
        return SYSTEMIC
    return INJECTED if found in INTO_WHAT and len(injected) > 1 else found


def route_bit(route_class: str) -> int:
    """Its bit in an event's routes; 0 for what tells none of them."""
    return 1 << ROUTES.index(route_class) if route_class in ROUTES else 0
