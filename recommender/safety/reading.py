"""Rows of the rule tables in, rules out: each cell checked where it stands, each drug and condition resolved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from recommender.loaders.measurements import measurements
from recommender.safety.allergy import reduced
from recommender.safety.kinds import (
    COMPARISONS,
    DERIVED_FROM,
    EFFECTS,
    SEXES,
    AllergyGroup,
    AllergyRule,
    AnyRule,
    ConditionRule,
    DuplicateRule,
    InteractionRule,
    LabRule,
    Measure,
    PatientState,
    PopulationRule,
)
from recommender.safety.table import ID, OFF, Names, RuleTable, numbered
from recommender.vocabulary.conditions import snomed_check_digit_holds
from recommender.vocabulary.tables import listed

Files = Mapping[str, list[RuleTable]]
SAME_INGREDIENT = "*"  # in duplicates.csv: the same ingredient in two products
ITSELF = "*"  # in allergies.csv: a record of the very ingredient
GROUP_KINDS = ("class", "ingredient", "unspecified", "other", "none")


def read_sets(files: Files, names: Names) -> None:
    """Adds each set of drugs to `names`."""
    for table, number, row in numbered(files["drug_sets.csv"]):
        _id(table, number, row, names.sets)
        table.day(number, row)
        for field in ("name", "source"):
            if not row[field]:
                raise table.wrong("must not be empty", number, field)
        names.sets[row["id"]] = names.drugs(table, number, "members", row["members"])


def read_measures(files: Files) -> dict[str, Measure]:
    """The numbers that labs.csv may ask for. Every LOINC code must be one that loaders bring into its unit."""
    found: dict[str, Measure] = {}
    for table, number, row in numbered(files["measures.csv"]):
        _id(table, number, row, found)
        table.day(number, row)
        codes = tuple(f"loinc:{code}" for code in listed(row["loinc"]))
        for code in codes:
            known = measurements().get(code)
            if known is None:
                raise table.wrong(f"measurements.csv has no {code!r}", number, "loinc")
            if known.unit != row["unit"]:
                raise table.wrong(f"{code} is in {known.unit!r}, not {row['unit']!r}", number, "unit")
        if row["derived"] not in DERIVED_FROM:
            raise table.wrong(f"{row['derived']!r} is none of {', '.join(DERIVED_FROM)}", number, "derived")
        if not codes and not row["derived"]:
            raise table.wrong("a measure needs a code or a formula", number, "loinc")
        days = table.days(number, row)
        if days is None or not row["name"] or not row["unit"]:
            raise table.wrong("a measure needs a name, a unit and the days that a value counts", number, "days")
        found[row["id"]] = Measure(row["id"], row["name"], codes, row["unit"], row["derived"], days)
    return found


def read_states(files: Files, names: Names) -> dict[str, PatientState]:
    """What conditions tell of a patient: pregnant, breast feeding ..."""
    found: dict[str, PatientState] = {}
    for table, number, row in numbered(files["patient_states.csv"]):
        _id(table, number, row, found)
        table.day(number, row)
        conditions = names.conditions(table, number, "conditions", row["conditions"])
        if not conditions or not row["name"] or not row["source"]:
            raise table.wrong("a state needs a name, conditions that tell of it and a source", number, "conditions")
        ended = names.conditions(table, number, "ended_by", row["ended_by"])
        if conditions & ended:
            raise table.wrong("a condition cannot both tell of a state and end it", number, "ended_by")
        found[row["id"]] = PatientState(row["id"], row["name"], conditions, table.days(number, row), ended)
    return found


def read_groups(files: Files, names: Names) -> dict[str, AllergyGroup]:
    """What allergy records mean. No word or code may mean two groups."""
    found: dict[str, AllergyGroup] = {}
    owner: dict[str, str] = {}
    for table, number, row in numbered(files["allergy_groups.csv"]):
        _id(table, number, row, found)
        table.day(number, row)
        if row["kind"] not in GROUP_KINDS:
            raise table.wrong(f"{row['kind']!r} is none of {', '.join(GROUP_KINDS)}", number, "kind")
        drugs: frozenset[str] = frozenset()
        if row["kind"] in ("class", "ingredient"):
            drugs = names.drugs(table, number, "drugs", row["drugs"])
        elif row["drugs"]:
            raise table.wrong(f"a group of kind {row['kind']} has no drugs", number, "drugs")
        words, codes = frozenset(map(reduced, listed(row["words"]))), frozenset(listed(row["codes"]))
        if not words and not codes:
            raise table.wrong("nothing tells of this group: it needs words or codes", number, "words")
        for code in codes:
            system, _, value = code.partition(":")
            if not (snomed_check_digit_holds(value) if system == "snomed" else system == "rxnorm" and value.isdigit()):
                raise table.wrong(f"{code!r} is no snomed: or rxnorm: code", number, "codes")
        for sign in sorted(words) + sorted(codes):
            if not sign or owner.setdefault(sign, row["id"]) != row["id"]:
                field = "codes" if sign in codes else "words"
                raise table.wrong(f"{sign!r} is empty or already means {owner.get(sign)!r}", number, field)
        kind = row["kind"]
        found[row["id"]] = AllergyGroup(row["id"], row["name"], kind, drugs, words, codes)  # type: ignore[arg-type]
    return found


def read_rules(
    files: Files,
    names: Names,
    groups: Mapping[str, AllergyGroup],
    states: Mapping[str, PatientState],
    measures: Mapping[str, Measure],
) -> tuple[AnyRule, ...]:
    """All rules that are not switched off, in the order of their tables. An id may stand only once in all of them."""
    rules: dict[str, AnyRule] = {}
    for rule, table, number in _all(files, names, groups, states, measures):
        _id(table, number, {"id": rule.id}, rules)
        rules[rule.id] = rule
    for table, number, row in numbered(files[OFF]):
        table.day(number, row)
        if rules.get(row["id"]) is None or rules[row["id"]].origin == "site":
            raise table.wrong(f"no shipped rule is called {row['id']!r} (or it is switched off twice)", number, "id")
        if not row["reason"]:
            raise table.wrong("must not be empty", number, "reason")
        del rules[row["id"]]
    return tuple(rules.values())


def _all(
    files: Files,
    names: Names,
    groups: Mapping[str, AllergyGroup],
    states: Mapping[str, PatientState],
    measures: Mapping[str, Measure],
) -> Iterator[tuple[AnyRule, RuleTable, int]]:
    for table, number, row in numbered(files["interactions.csv"]):
        yield _interaction(table, number, row, names), table, number
    for table, number, row in numbered(files["allergies.csv"]):
        if row["group"] != ITSELF and (row["group"] not in groups or groups[row["group"]].kind == "none"):
            raise table.wrong(f"allergy_groups.csv has no {row['group']!r} to be allergic to", number, "group")
        if (row["group"] == ITSELF) != (row["drugs"] == ITSELF):
            raise table.wrong("'*' must stand in both columns or in none", number, "drugs")
        itself = row["group"] == ITSELF
        drugs = frozenset[str]() if itself else names.drugs(table, number, "drugs", row["drugs"])
        yield AllergyRule(**table.common(number, row), group="" if itself else row["group"], drugs=drugs), table, number
    for table, number, row in numbered(files["duplicates.csv"]):
        yield _duplicate(table, number, row, names), table, number
    for table, number, row in numbered(files["conditions.csv"]):
        yield _condition(table, number, row, names), table, number
    for table, number, row in numbered(files["populations.csv"]):
        yield _population(table, number, row, names, states), table, number
    for table, number, row in numbered(files["labs.csv"]):
        yield _lab(table, number, row, names, measures), table, number


def _interaction(table: RuleTable, number: int, row: Mapping[str, str], names: Names) -> InteractionRule:
    left, right = (names.drugs(table, number, side, row[side]) for side in ("left", "right"))
    if row["effect"] not in EFFECTS:
        raise table.wrong(f"{row['effect']!r} is none of {', '.join(EFFECTS)}", number, "effect")
    if not row["mechanism"]:
        raise table.wrong("must not be empty", number, "mechanism")
    if left == right and len(left) == 1:
        raise table.wrong("a drug does not interact with itself: this rule can never hold", number, "right")
    common = table.common(number, row)
    return InteractionRule(**common, effect=row["effect"], mechanism=row["mechanism"], left=left, right=right)


def _duplicate(table: RuleTable, number: int, row: Mapping[str, str], names: Names) -> DuplicateRule:
    common = table.common(number, row)
    most = table.number(number, row, "most", 1, 9) or 1
    if row["drugs"] == SAME_INGREDIENT:
        spared = names.drugs(table, number, "accepted", row["accepted"]) if row["accepted"] else frozenset[str]()
        return DuplicateRule(**common, drugs=frozenset(), most=1, accepted=(), spared=spared)
    drugs = names.drugs(table, number, "drugs", row["drugs"])
    if len(drugs) <= most:
        raise table.wrong("has too few drugs ever to hold", number, "drugs")
    accepted = []
    for pair in listed(row["accepted"]):
        sides = [side.strip().replace(";", "|") for side in pair.split(" + ")]
        if len(sides) != 2:
            raise table.wrong(f"{pair!r} is no pair 'one + other'", number, "accepted")
        one, other = (names.drugs(table, number, "accepted", side) for side in sides)
        if one & other:
            raise table.wrong(f"{pair!r}: a drug is no exception beside itself", number, "accepted")
        if not (one | other) <= drugs:
            raise table.wrong(f"{pair!r} names a drug that is not in this rule", number, "accepted")
        accepted.append((one, other))
    rule = DuplicateRule(**common, drugs=drugs, most=int(most), accepted=tuple(accepted), spared=frozenset())
    if all(rule.accepts(one, other) for one in drugs for other in drugs - {one}):
        raise table.wrong("every pair is an exception: this rule can never hold", number, "accepted")
    return rule


def _condition(table: RuleTable, number: int, row: Mapping[str, str], names: Names) -> ConditionRule:
    conditions = names.conditions(table, number, "conditions", row["conditions"])
    unless = names.conditions(table, number, "unless", row["unless"])
    if not conditions:
        raise table.wrong("names no condition", number, "conditions")
    if conditions & unless:
        raise table.wrong("what lifts a rule cannot be what it asks for", number, "unless")
    drugs, days = names.drugs(table, number, "drugs", row["drugs"]), table.days(number, row)
    return ConditionRule(**table.common(number, row), drugs=drugs, conditions=conditions, days=days, unless=unless)


def _population(
    table: RuleTable, number: int, row: Mapping[str, str], names: Names, states: Mapping[str, PatientState]
) -> PopulationRule:
    low, high = (table.number(number, row, field, 0, 130) for field in ("age_from", "age_below"))
    if row["sex"] not in SEXES:
        raise table.wrong(f"{row['sex']!r} is neither F, M nor empty", number, "sex")
    if row["state"] and row["state"] not in states:
        raise table.wrong(f"patient_states.csv has no {row['state']!r}", number, "state")
    if low is not None and high is not None and low >= high:
        raise table.wrong("no age is both: this rule can never hold", number, "age_below")
    if not row["state"] and not row["sex"] and low is None and high is None:
        raise table.wrong("would hold for everyone: it needs a state, a sex or an age", number, "state")
    drugs = names.drugs(table, number, "drugs", row["drugs"])
    common = table.common(number, row)
    return PopulationRule(**common, drugs=drugs, state=row["state"], sex=row["sex"], age_from=low, age_below=high)


def _lab(
    table: RuleTable, number: int, row: Mapping[str, str], names: Names, measures: Mapping[str, Measure]
) -> LabRule:
    measure = measures.get(row["measure"])
    if measure is None:
        raise table.wrong(f"measures.csv has no {row['measure']!r}", number, "measure")
    if row["comparison"] not in COMPARISONS:
        raise table.wrong(f"{row['comparison']!r} is none of {' '.join(COMPARISONS)}", number, "comparison")
    value = table.number(number, row, "value")
    if value is None:
        raise table.wrong("must not be empty", number, "value")
    for code in measure.codes:
        known = measurements()[code]
        if not known.low < value < known.high:
            raise table.wrong(f"no possible {known.name} is beyond {value:g} {known.unit}", number, "value")
    days = table.days(number, row) or measure.days
    common, drugs = table.common(number, row), names.drugs(table, number, "drugs", row["drugs"])
    what = {"measure": measure.id, "comparison": row["comparison"], "value": value, "days": days}
    return LabRule(**common, drugs=drugs, **what)  # type: ignore[arg-type]


def _id(table: RuleTable, number: int, row: Mapping[str, str], known: Mapping[str, object]) -> None:
    if not ID.fullmatch(row["id"]) or row["id"] in known:
        raise table.wrong(f"{row['id']!r} is no id of small letters and hyphens, or there twice", number, "id")
