"""An ISO time in, a date and an age in the reader's language out."""

from __future__ import annotations

from datetime import UTC, datetime

from api.words import Words


def date_in_words(iso: str, words: Words | None = None) -> str:
    """An ISO time as 22 Nov 2026; what is no ISO time is shown as it is."""
    moment = _moment(iso)
    if moment is None:
        return iso
    return (words or Words())("date", day=moment.day, month=moment.month, name=f"{moment:%b}", year=moment.year)


def age_in_words(iso: str, now: datetime, words: Words) -> str:
    """How old data of that time are, in days; "" for a time to come (de-identified data are often shifted forwards)."""
    moment = _moment(iso)
    days = (now - moment).days if moment else -1
    if days < 0:
        return ""
    return words("data.age.0") if days == 0 else words.count("data.age", days)


def _moment(iso: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
