"""What the engine says in, CDS Hooks 2.0 cards out: summaries under 140 characters, details in Markdown.

Names come from data that anyone may have typed, and a client may show a detail as raw HTML: whatever comes from data is
escaped for Markdown and HTML at once, by character references, which both read alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from api.answers import Answer
from api.cds_reading import Drafted, Hooked
from api.cds_tokens import About, Sealer
from api.charts import of_export
from recommender.feedback import REASONS
from recommender.loaders.fhir_codes import SYSTEMS
from recommender.offered import Item, NotChecked, Warned
from recommender.orders import Alternative, Judged
from recommender.safety.rules import Rules
from recommender.safety.verdict import Alert, Gap

Json = dict[str, Any]
LONGEST_SUMMARY = 139
MOST_REASONS, MOST_LISTED = 3, 12
LABEL = "rxrec"
TOPICS = "urn:rxrec:card-topic"
OVERRIDES = "urn:rxrec:override-reason"
TOPIC = {
    "suggestion": "Treatment suggestion",
    "safety": "Medication safety",
    "alternative": "Better supported alternative",
    "not-checked": "What was not checked",
}
INDICATOR = {3: "critical", 2: "warning", 1: "info", 0: "info"}
TIER = {"contraindicated": "Contraindicated", "serious": "Serious", "caution": "Caution"}
OVERRIDE_REASONS = [{"code": code, "system": OVERRIDES, "display": name} for code, name in REASONS.items()]
UNPUBLISHED = "unpublished"  # what stands for a version where rules were asked without one
# what means something in Markdown or HTML; what makes a bare address a link; what begins a list at the start of a line
_ACTIVE = re.compile(
    r"""[&<>"'`\\*_{}\[\]#|~!@$^=]|:(?=//)|(?<=www)\.|\A[-+]|(?<=\A\d)[.)]|(?<=\A\d\d)[.)]""", re.IGNORECASE
)
_URI = {prefix: uri for uri, prefix in reversed(SYSTEMS.items())}
_URI |= {"rxnorm": "http://www.nlm.nih.gov/research/umls/rxnorm"}


@dataclass(frozen=True)
class Maker:
    """Makes the cards of one call. `encounter`: its id, "" where the call names none."""

    service: str
    call: str
    patient_id: str
    encounter: str
    version: str
    sealer: Sealer | None
    rules: Rules
    before_signing: bool = False

    # --- patient-view ------------------------------------------------------------------------------------------------

    def suggestions(self, answer: Answer) -> list[Json]:
        """A card for each suggestion, and one for what was not checked or is withheld."""
        cards = [self._suggested(item, answer) for item in answer.items]
        withheld = [f"{md(one.name)}: {md(one.warnings[0].message)}" for one in answer.withheld if one.warnings]
        parts = []
        if answer.message:
            parts.append(md(answer.message))
        if withheld:
            parts.append("**Withheld**\n\n" + bullets(withheld))
        if answer.not_checked:
            parts.append("**Not checked**\n\n" + bullets(_gap(gap.about, gap.mend) for gap in answer.not_checked))
        if parts:
            named = ", ".join(gap.about for gap in answer.not_checked)
            summary = (
                f"Not checked: {named}" if named else answer.message or f"{len(withheld)} withheld by safety rules"
            )
            cards.append(self._card(summary, "\n\n".join(parts), 0, "not-checked"))
        return cards

    def _suggested(self, item: Item, answer: Answer) -> Json:
        rank = max((_rank(one.severity) for one in item.warnings), default=0)
        warned = f" ({TIER[item.warnings[0].severity].lower()} warning)" if rank >= 2 else ""
        detail = [_because(item, answer.source)]
        if item.labelled_for:
            detail.append("Labelled for " + ", ".join(map(md, item.labelled_for)) + ".")
        if item.warnings:
            detail.append(bullets(_warned(one) for one in item.warnings))
        if item.not_checked:
            detail.append("Not checked: " + "; ".join(_gap(gap.about, gap.mend) for gap in item.not_checked) + ".")
        detail.append("Supports, does not replace, clinical judgement. No dose is suggested or checked.")
        about = self._about(item.code, item.kind, [one.rule for one in item.warnings], item.rank)
        actions = [self._create(item.code, item.name)] if item.kind == "drug" else []
        card = self._card(f"Consider {item.name}{warned}", "\n\n".join(detail), rank, "suggestion", about)
        if actions:
            self._suggest(card, [self._suggestion(f"Draft an order of {item.name}", about, actions)])
        return card

    # --- orders ------------------------------------------------------------------------------------------------------

    def orders(
        self, drafts: Sequence[Drafted], found: Sequence[tuple[int, Judged, Sequence[Alternative]]], hooked: Hooked
    ) -> list[Json]:
        """Cards for judged drafts: one for each that something new speaks against or that another drug of its class is
        better supported than, and one for all that was not checked."""
        cards, gaps = [], []
        for place, one, others in found:
            if one.alerts:
                cards.append(self._alerted(one, others))
            elif others:
                cards.append(self._better(one, others))
            gaps += [(drafts[place].name, gap) for gap in one.gaps]
        lacking = [drafts[place].name or "an order" for place, one, _ in found if not one.draft.column.name]
        unread = self._unread(gaps, lacking, found, hooked)
        return [*sorted(cards, key=lambda card: SEVEREST.index(card["indicator"])), *unread]

    def _alerted(self, one: Judged, others: Sequence[Alternative]) -> Json:
        drug = one.draft.column
        first = one.alerts[0]
        detail = [bullets(_alert(alert) for alert in one.alerts)]
        about = self._about(drug.code, "drug", [alert.rule.id for alert in one.alerts])
        if others:
            detail.append("**Alternatives of its class, with nothing serious against them for this patient**\n")
            detail.append(bullets(_alternative(other) for other in others))
        summary = f"{drug.name}: {TIER[first.rule.severity].lower()}. {first.rule.message}"
        card = self._card(summary, "\n\n".join(detail), one.rank, "safety", about)
        return self._suggest(card, [self._instead(other) for other in others])

    def _better(self, one: Judged, others: Sequence[Alternative]) -> Json:
        drug = one.draft.column
        detail = [
            f"Of its class, these stand among the first suggestions for this patient, and {md(drug.name)} does not:",
            bullets(_alternative(other) for other in others),
            "That others began them does not make them right for this patient.",
        ]
        about = self._about(drug.code, "drug", [])
        names = ", ".join(other.column.name for other in others)
        card = self._card(
            f"Better supported than {drug.name} here: {names}", "\n\n".join(detail), 0, "alternative", about
        )
        return self._suggest(card, [self._instead(other) for other in others])

    def _unread(
        self,
        gaps: Sequence[tuple[str, Gap]],
        lacking: Sequence[str],
        found: Sequence[tuple[int, Judged, Sequence[Alternative]]],
        hooked: Hooked,
    ) -> list[Json]:
        """One card for all that could not be checked of orders that bring something new.

        Missing values alone make none before signing, nor ever where they could bring no more than a warning: such a
        card would come with most orders, and no longer be read.
        """
        lines, about = [], []
        new = [one for _, one, _ in found if not one.renews and one.draft.column.code]
        if new:  # of the whole chart first
            own = (NotChecked(gap.kind, gap.about, gap.mend) for gap in new[0].reading.gaps)
            chart = dict.fromkeys((*hooked.lacks, *(gap for gap in own if not (hooked.here and of_export(gap)))))
            lines += [_gap(gap.about, gap.mend) for gap in chart]
            about += [gap.about for gap in chart]
        lines += [f"{md(name)}: {_gap(gap.about, gap.mend)}" for name, gap in gaps]
        about += [gap.about if gap.kind != "drug" else name for name, gap in gaps]
        lines += [f"{md(name)}: it names no medication yet" for name in lacking]
        about += lacking
        minor = {gap for _, one, _ in found for gap in one.minor}
        if len(lines) == sum(gap in minor or (self.before_signing and gap.kind == "lab") for _, gap in gaps):
            return []
        summary = "Not checked: " + ", ".join(dict.fromkeys(about))
        return [self._card(summary, "Could not be checked:\n\n" + bullets(dict.fromkeys(lines)), 0, "not-checked")]

    # --- parts of cards ----------------------------------------------------------------------------------------------

    def _card(self, summary: str, detail: str, rank: int, topic: str, about: About | None = None) -> Json:
        newest = self.rules.reviewed[1].isoformat()
        card = {
            "uuid": self._sealed(about),
            "summary": short(summary),
            "detail": detail,
            "indicator": INDICATOR[rank],
            "source": {
                "label": f"{LABEL}: rules {self.rules.version}, reviewed up to {newest}",
                "topic": {"code": topic, "system": TOPICS, "display": TOPIC[topic]},
            },
            "overrideReasons": OVERRIDE_REASONS if about is not None else None,
        }
        return {name: value for name, value in card.items() if value}

    def _suggest(self, card: Json, suggestions: list[Json]) -> Json:
        if suggestions:
            card |= {"suggestions": suggestions, "selectionBehavior": "at-most-one"}
        return card

    def _instead(self, other: Alternative) -> Json:
        about = self._about(other.column.code, "drug", [alert.rule.id for alert in other.verdict.alerts], other.place)
        create = self._create(other.column.code, other.column.name)
        return self._suggestion(f"Order {other.column.name} instead", about, [create])

    def _suggestion(self, label: str, about: About, actions: list[Json]) -> Json:
        suggestion = {"label": short(label), "uuid": self._sealed(about), "actions": actions}
        return {name: value for name, value in suggestion.items() if value}

    def _create(self, code: str, name: str) -> Json:
        system, _, value = code.partition(":")
        coding = (
            [{"system": _URI[system], "code": value, "display": name}] if system in _URI and value.isdigit() else []
        )
        encounter = {"encounter": {"reference": f"Encounter/{self.encounter}"}} if self.encounter else {}
        medication = {"coding": coding, "text": name} if coding else {"text": name}
        return {
            "type": "create",
            "description": short(f"A draft order of {name}, without a dose"),
            "resource": {
                "resourceType": "MedicationRequest",
                "status": "draft",
                "intent": "order",
                "medicationCodeableConcept": medication,
                "subject": {"reference": f"Patient/{self.patient_id}"},
                **encounter,
            },
        }

    def _about(self, code: str, kind: str, rules: Iterable[str], rank: int | None = None) -> About:
        told = tuple(dict.fromkeys(rules))
        return About(self.service, self.call, self.patient_id, code, kind, self.version, told, rank)

    def _sealed(self, about: About | None) -> str:
        return self.sealer.seal(about) if self.sealer and about else ""


SEVEREST = ("critical", "warning", "info")


def md(text: str) -> str:
    """A text from data as Markdown and as HTML that show it and do nothing."""
    return _ACTIVE.sub(lambda found: f"&#{ord(found[0])};", " ".join(text.split()))


def short(text: str) -> str:
    """One line of at most LONGEST_SUMMARY characters, without what HTML would take for a tag."""
    line = " ".join(text.split()).replace("<", "‹").replace(">", "›")
    return line if len(line) <= LONGEST_SUMMARY else line[: LONGEST_SUMMARY - 1].rstrip() + "…"


def bullets(lines: Iterable[str]) -> str:
    told = list(lines)
    more = [f"and {len(told) - MOST_LISTED} more"] if len(told) > MOST_LISTED else []
    return "\n".join(f"- {line}" for line in [*told[:MOST_LISTED], *more])


def _rank(severity: str) -> int:
    return {"contraindicated": 3, "serious": 2, "caution": 1}[severity]


def _warned(one: Warned) -> str:
    because = f" Because of: {md(one.because)}." if one.because else ""
    return f"**{TIER[one.severity]}.** {md(one.message)} {md(one.management)}{because} ({md(one.source)})"


def _alert(one: Alert) -> str:
    rule = one.rule
    because = f" Because of: {md(one.because)}." if one.because else ""
    return f"**{TIER[rule.severity]}.** {md(rule.message)} {md(rule.management)}{because} ({md(rule.source)})"


def _gap(about: str, mend: str) -> str:
    return f"{md(about)} ({md(mend)})"


def _alternative(other: Alternative) -> str:
    told = [f"number {other.place} of this patient's suggestions"] if other.place else []
    told += ["caution: " + md(alert.rule.message) for alert in other.verdict.alerts]
    told += ["not checked: " + md(gap.about) for gap in other.verdict.gaps]
    return f"{md(other.column.name)}" + (f" ({'; '.join(told)})" if told else "")


def _because(item: Item, source: str) -> str:
    reasons = [md(one.name) for one in item.reasons if one.contribution > 0 and one.kind != "baseline"][:MOST_REASONS]
    told = []
    if reasons:
        told.append(f"Suggested because of: {', '.join(reasons)}.")
    if item.evidence is not None:
        told.append(f"About {md(item.evidence.patients)} patients here had it.")
    told.append(f"Source: {source}.")
    return " ".join(told)
