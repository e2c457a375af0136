"""Feedback events in, what they add up to out: true numbers for a program, and a form of them that may be published.

**Always overridden** is a rule of whose warnings at least 90% were overridden, among at least 11 events: review it. It
costs attention and changes nothing.

**What may be published** (`publishable`). A number is told only when 11 patients or more stand behind it, else it reads
"<11" (0 is told). So that no such number can be worked out from others:

- all events are accepted ones and ones with a reason; their sum reads "hidden" unless both of its parts are told;
- of those with a reason, the outcomes (rejected, overridden) and the reasons are told as parts of a known sum. Where
  some of these parts are "<11", the first larger part, in their fixed order (an order by size would betray sizes),
  reads "hidden". If p parts of fewer than 11 patients and that larger part, at least 11, are not told, and their sum
  S is known, each small one can still be anything from 1 to 10 as long as S >= 11 + p + 9. Else all read "hidden";
- treatments and rules add up to nothing, for their numbers are told as steps ("50 or more"), as are their shares
  ("75% to 90%"), and those of fewer than 11 patients are not listed. A rule that is listed as always overridden says of
  itself that at most a tenth of its events went otherwise: that is what the list is for.

Two reports whose periods overlap can be subtracted from each other: publish one a period.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from recommender.feedback.events import NEEDS_REASON, OUTCOMES, REASONS, FeedbackEvent, standing

MIN_PATIENTS = 11
MIN_EVENTS = 11
ALWAYS = 0.9
FEW = f"<{MIN_PATIENTS}"
HIDDEN = "hidden"
STEPS = (11, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 100_000, 1_000_000)
SHARES = (0.0, 0.25, 0.5, 0.75, ALWAYS)
GIVEN = tuple(outcome for outcome in OUTCOMES if outcome != "undone")


@dataclass(frozen=True)
class Count:
    """Events, and how many patients they are of."""

    events: int = 0
    patients: int = 0

    @property
    def told(self) -> bool:
        return self.patients == 0 or self.patients >= MIN_PATIENTS


@dataclass(frozen=True)
class Tally:
    """Events that name one treatment or rule, and how many of them were accepted (treatment), overridden (rule)."""

    count: Count
    of_these: int

    @property
    def share(self) -> float:
        return self.of_these / self.count.events


@dataclass(frozen=True)
class Summary:
    """True numbers, of events that stand: not for publication, see `publishable`. `undone`: those taken back."""

    total: Count
    undone: Count
    with_reason: Count
    outcomes: Mapping[str, Count]
    reasons: Mapping[str, Count]
    treatments: Mapping[tuple[str, str], Tally]  # by (kind, code)
    rules: Mapping[str, Tally]

    @property
    def always_overridden(self) -> tuple[str, ...]:
        """Rules to review, the most often shown first."""
        found = [
            (-tally.count.events, rule)
            for rule, tally in self.rules.items()
            if tally.count.told and tally.count.events >= MIN_EVENTS and tally.share >= ALWAYS
        ]
        return tuple(rule for _, rule in sorted(found))


def summarise(events: Iterable[FeedbackEvent]) -> Summary:
    events = list(events)
    given = standing(events)
    by_outcome = {name: [event for event in given if event.outcome == name] for name in GIVEN}
    because = [event for event in given if event.outcome in NEEDS_REASON]
    treatments: dict[tuple[str, str], list[FeedbackEvent]] = {}
    rules: dict[str, list[FeedbackEvent]] = {}
    for event in given:
        treatments.setdefault((event.kind, event.code), []).append(event)
        for rule in event.rule_ids:
            rules.setdefault(rule, []).append(event)
    return Summary(
        total=_count(given),
        undone=_count([event for event in events if event.outcome == "undone"]),
        with_reason=_count(because),
        outcomes={name: _count(of) for name, of in by_outcome.items()},
        reasons={name: _count([event for event in because if event.reason == name]) for name in REASONS},
        treatments={name: _tally(of, "accepted") for name, of in treatments.items()},
        rules={name: _tally(of, "overridden") for name, of in rules.items()},
    )


def publishable(summary: Summary) -> dict[str, Any]:
    """What may be shown of a summary, JSON-able: numbers, "<11" or "hidden", by the rules at the top of this file."""
    accepted, because = summary.outcomes["accepted"], summary.with_reason
    reasoned = {name: summary.outcomes[name] for name in NEEDS_REASON}
    rules = {rule: tally for rule, tally in summary.rules.items() if tally.count.told}
    treatments = {name: tally for name, tally in summary.treatments.items() if tally.count.told}
    return {
        "events": HIDDEN if summary.total.told and not (accepted.told and because.told) else _told(summary.total),
        "undone": _told(summary.undone),
        "with_reason": _told(because),
        "outcomes": {"accepted": _told(accepted), **parts_told(because, reasoned)},
        "reasons": parts_told(because, summary.reasons),
        "treatments": [
            {"code": code, "kind": kind, **_steps(tally, "accepted")}
            for (kind, code), tally in sorted(treatments.items(), key=lambda item: (-_step(item[1]), item[0]))
        ],
        "rules": [
            {"rule_id": rule, **_steps(tally, "overridden")}
            for rule, tally in sorted(rules.items(), key=lambda item: (-_step(item[1]), item[0]))
        ],
        "always_overridden": sorted(summary.always_overridden),
        "not_listed": f"treatments and rules with events of {FEW} patients",
    }


def parts_told(whole: Count, parts: Mapping[str, Count]) -> dict[str, int | str]:
    """The parts of a sum that is known, unless it is of few itself: told, "<11" or "hidden"."""
    few = [name for name, part in parts.items() if not part.told]
    if whole.told and not few:
        return {name: _told(part) for name, part in parts.items()}
    larger = next((name for name, part in parts.items() if part.told and part.events), None)
    if not whole.told or larger is None:
        return dict.fromkeys(parts, HIDDEN)
    untold = parts[larger].events + sum(parts[name].events for name in few)
    if untold < MIN_PATIENTS + len(few) + MIN_PATIENTS - 2:
        return dict.fromkeys(parts, HIDDEN)
    return {name: HIDDEN if name == larger else _told(part) for name, part in parts.items()}


def _told(count: Count) -> int | str:
    return count.events if count.told else FEW


def _step(tally: Tally) -> int:
    return max(step for step in STEPS if step <= tally.count.events)


def _steps(tally: Tally, of_these: str) -> dict[str, str]:
    low = max(edge for edge in SHARES if edge <= tally.share)
    high = next((edge for edge in SHARES if edge > tally.share), None)
    share = f"{low:.0%} or more" if high is None else f"{low:.0%} to {high:.0%}" if low else f"under {high:.0%}"
    return {"events": f"{_step(tally):,} or more", of_these: share}


def _count(events: Iterable[FeedbackEvent]) -> Count:
    events = list(events)
    return Count(len(events), len({event.patient_id for event in events}))


def _tally(events: list[FeedbackEvent], outcome: str) -> Tally:
    return Tally(_count(events), sum(event.outcome == outcome for event in events))
