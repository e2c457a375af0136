"""What a clinician adds to a chart, in words or codes, in; the list for that chart, and what moved and why, out.

Nothing is guessed: a name that is not known is told back with what it may mean, for the reader to choose. Nothing is
stored. A condition that this version never saw is still known to the safety rules, and so is every drug of the
vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rapidfuzz import fuzz, process

from api.answers import Answer
from api.phrases import said as in_words
from api.present_safety import ANY
from api.reference import Reference
from api.words import Words
from recommender.catalogue import Catalogue
from recommender.live import Told
from recommender.offer import Desk
from recommender.offered import Item, Warned, plain_name
from recommender.vocabulary.text import key

KINDS = ("condition", "allergy", "drug", "egfr")
MOST = 12  # additions: more cannot be told apart
LONGEST = 200  # characters of one
OFFERED = 12  # names, while one types
GUESSES, ALIKE = 3, 70  # offered for a name that is not known; percent
EGFR_CODE, EGFR_UNIT, EGFR_RANGE = "loinc:62238-1", "mL/min/{1.73_m2}", (1, 250)
NOW = timedelta(seconds=1)  # before the moment of reading: what is known then began earlier


@dataclass(frozen=True)
class Added:
    """One addition. `given`: as the form sends it again, "drug:rxnorm:6809"; scored: whether the scores know it too."""

    kind: str
    given: str
    name: str
    code: str
    scored: bool
    value: float | None = None

    def told(self, now: datetime) -> Told:
        if self.value is not None:
            return Told("observation", self.code, self.name, start=now - NOW, value=self.value, unit=EGFR_UNIT)
        code = "" if self.code.startswith("text:") else self.code
        return Told(self.kind, code, self.name)


@dataclass(frozen=True)
class Refused:
    """One that is not understood: `text` is the reader's own, `guesses` are (as the form sends it, name)."""

    kind: str
    text: str
    guesses: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Names:
    """What can be added to a chart of one version: (kind, key of a name) -> (code, name). Made once a version."""

    version: str
    of: Mapping[str, Mapping[str, tuple[str, str]]]

    @classmethod
    def load(cls, desk: Desk, reference: Reference) -> Names:
        index, screen = desk.release.index, desk.screen
        catalogue = reference.catalogue(desk.release)
        conditions: dict[str, tuple[str, str]] = {}
        for group in screen.conditions.all_groups:
            code = _a_code_of(group.within)
            if code:
                name = ANY.sub("", group.name)
                conditions.setdefault(key(name), (code, name))
        for column in index.columns:
            if column.kind == "condition":  # what the version saw goes before a group of the same name
                conditions[key(plain_name(column.name))] = (column.code, plain_name(column.name))
        drugs = _drugs(catalogue)
        allergies = {key(name): (code, name) for code, name in drugs.values()}
        for meant in screen.rules.allergy_groups.values():
            if meant.kind != "none":
                allergies.setdefault(key(meant.name), (f"text:{meant.name}", meant.name))
        for column in index.columns:
            if column.kind == "allergy":
                allergies[key(plain_name(column.name))] = (column.code, plain_name(column.name))
        return cls(desk.release.version, {"condition": conditions, "allergy": allergies, "drug": drugs})

    def offered(self, kind: str, text: str) -> list[str]:
        """Names that begin so, or have a word that does, the shortest first."""
        wanted = key(text)
        if not wanted or kind not in self.of:
            return []
        found = [
            (not k.startswith(wanted), len(name), name)
            for k, (_, name) in self.of[kind].items()
            if f" {wanted}" in f" {k}"
        ]
        return list(dict.fromkeys(name for *_, name in sorted(found)))[:OFFERED]

    def guesses(self, kind: str, text: str) -> tuple[tuple[str, str], ...]:
        alike = process.extract(key(text), self.of[kind].keys(), scorer=fuzz.ratio, score_cutoff=ALIKE, limit=GUESSES)
        named = dict.fromkeys(self.of[kind][found][1] for found, _, _ in alike)
        return tuple((f"{kind}:{name}", name) for name in named)


def _drugs(catalogue: Catalogue) -> dict[str, tuple[str, str]]:
    """Every drug under its names; a brand says what it is."""
    found: dict[str, tuple[str, str]] = {}
    for one in catalogue.treatments:
        if one.kind == "drug":
            for spelling in (*one.synonyms, *one.brands):
                found.setdefault(
                    key(spelling), (one.code, f"{one.name} ({spelling})" if spelling in one.brands else one.name)
                )
    for one in catalogue.treatments:
        if one.kind == "drug":
            found[key(one.name)] = (one.code, one.name)
            found.setdefault(key(one.code), (one.code, one.name))
    return found


def _a_code_of(within: Mapping[str, Sequence[str]]) -> str:
    """One code that lies in a group, so that the rules understand it."""
    for system in ("icd10cm", "snomed", "icd9cm"):
        for pattern in within.get(system, ()):
            if "?" not in pattern:
                return f"{system}:{pattern}"
    return ""


def understood(given: Iterable[str], names: Names, desk: Desk) -> tuple[tuple[Added, ...], tuple[Refused, ...]]:
    """Each addition of a form ("condition:Asthma"), or what is wrong with it. Each once, an eGFR the last one told."""
    added: dict[str, Added] = {}
    refused: list[Refused] = []
    for one in given:
        kind, _, text = one.partition(":")
        text = " ".join(text.split())[:LONGEST]
        if kind not in KINDS or not text:
            continue
        found = _egfr(text) if kind == "egfr" else _named(kind, text, names, desk)
        if found is None:
            refused.append(Refused(kind, text, () if kind == "egfr" else names.guesses(kind, text)))
        else:
            added["egfr" if kind == "egfr" else f"{kind}:{found.code}"] = found
    if len(added) > MOST:
        refused.append(Refused("many", str(MOST), ()))
    return tuple(added.values())[:MOST], tuple(refused)


def _egfr(text: str) -> Added | None:
    low, high = EGFR_RANGE
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    if not low <= value <= high:
        return None
    return Added("egfr", f"egfr:{value:g}", f"eGFR {value:g}", EGFR_CODE, False, value)


def _named(kind: str, text: str, names: Names, desk: Desk) -> Added | None:
    found = names.of[kind].get(key(text))
    if found is None:
        return None
    code, name = found
    scored = (kind, code) in desk.release.index.place
    return Added(kind, f"{kind}:{name if kind != 'drug' else code}", name, code, scored)


# --- what moved, and why ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Changes:
    """summary: one sentence; unknown: what no score knows of; marks: (kind, code) -> what became of an item."""

    summary: str
    unknown: str
    marks: Mapping[tuple[str, str], str]


def changes(before: Answer, after: Answer, added: Sequence[Added], t: Words) -> Changes:
    """The list with what was added, against the same list without it."""
    was = {(item.kind, item.code): item for item in before.items}
    was_withheld = {(one.kind, one.code) for one in before.withheld}
    codes = {one.code for one in added}
    marks: dict[tuple[str, str], str] = {}
    counts = dict.fromkeys(("up", "down", "new", "freed"), 0)
    now_warned: list[str] = []
    for item in after.items:
        old = was.get((item.kind, item.code))
        mark, warned = _mark(item, old, (item.kind, item.code) in was_withheld)
        if warned and old is not None:
            rules = {one.rule for one in old.warnings}
            now_warned.append(f"{item.name} ({_cause([w for w in item.warnings if w.rule not in rules], added, t)})")
        if mark:
            counts[mark[0]] += 1
        said = [t(f"whatif.mark.{mark[0]}", n=mark[1])] if mark else []
        said += [t("whatif.mark.warned")] if warned else []
        if said:
            why = _why(item, codes, t)
            text = t("list.comma").join(said)
            marks[item.kind, item.code] = t("whatif.mark.why", mark=text, why=why) if why else text
    parts = [t.count(f"whatif.{name}", n) for name, n in counts.items() if n]
    if now_warned:
        names = t("list.comma").join(now_warned)
        parts.append(t("whatif.of", what=t.count("whatif.warned", len(now_warned)), names=names))
    newly = [one for one in after.withheld if (one.kind, one.code) not in was_withheld]
    if newly:
        because = dict.fromkeys(f"{one.name} ({_cause(one.warnings, added, t)})" for one in newly)
        names = t("list.comma").join(because)
        parts.append(t("whatif.of", what=t.count("whatif.withheld", len(newly)), names=names))
    summary = t("list.semicolon").join(parts) + t("stop") if parts else t("whatif.same")
    unscored = [one.name for one in added if not one.scored]
    unknown = t("whatif.rules_only", names=t("list.comma").join(unscored)) if unscored else ""
    return Changes(summary, unknown, marks)


def _mark(item: Item, old: Item | None, was_withheld: bool) -> tuple[tuple[str, int] | None, bool]:
    """("up", by how many places) and the like, and whether a rule holds now that did not."""
    if old is None:
        return ("freed" if was_withheld else "new", 0), False
    new_rules = {one.rule for one in item.warnings} - {one.rule for one in old.warnings}
    step = old.rank - item.rank
    return (("up" if step > 0 else "down", abs(step)) if step else None), bool(new_rules)


def _why(item: Item, codes: set[str], t: Words) -> str:
    """What the additions add to its score."""
    shares = [r for r in item.reasons if r.code in codes and round(100 * abs(r.contribution)) > 0]
    return t("list.comma").join(
        f"{plain_name(r.name)} {'+' if r.contribution > 0 else '−'}.{round(100 * abs(r.contribution)):02d}"
        for r in shares
    )


def _cause(warnings: Sequence[Warned], added: Sequence[Added], t: Words) -> str:
    """What of the chart the strictest rule holds for."""
    if warnings and warnings[0].because:
        return in_words(warnings[0].because, t)
    return t("list.comma").join(one.name for one in added)


def told(added: Sequence[Added]) -> tuple[list[Told], datetime]:
    now = datetime.now(UTC)
    return [one.told(now) for one in added], now
