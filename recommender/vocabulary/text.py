"""From a drug name as typed to its tokens (lower case, no accents, no punctuation), each knowing what stood before it.

Two spellings that differ in case, spaces or punctuation only have the same `key`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

# A number keeps its decimals ("0.125", "1,000"); a word may hold digits after its first letter ("b12", "d5w").
_TOKEN = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|(?<![a-z0-9])\.\d+|[a-z][a-z0-9]*")
_APOSTROPHES = re.compile("['’`´]")
_MARKS = "/+&,;-"
_TRADEMARKS = str.maketrans({"®": " ", "™": " ", "©": " ", "ß": "ss"})


@dataclass(frozen=True)
class Token:
    """One word or number, and the mark before it that may join two drugs of one product: / + & , ; - or nothing."""

    text: str
    mark: str

    @property
    def is_number(self) -> bool:
        return self.text[0].isdigit()


def tokens(text: str) -> list[Token]:
    """Tokens of `text` in their order; none when nothing of it is a Latin letter or a digit."""
    plain = unicodedata.normalize("NFKD", text.translate(_TRADEMARKS)).casefold()
    plain = _APOSTROPHES.sub("", plain.encode("ascii", "ignore").decode())
    found, end = [], 0
    for hit in _TOKEN.finditer(plain):
        marks = [mark for mark in _MARKS if mark in plain[end : hit.start()]]
        found.append(Token(_tidy(hit.group()), marks[0] if marks else ""))
        end = hit.end()
    return found


def key(text: str) -> str:
    """The spelling under which names are looked up: 'Piperacillin-Tazobactam' -> 'piperacillin tazobactam'."""
    return " ".join(token.text for token in tokens(text))


def _tidy(token: str) -> str:
    """'1,000' -> '1000' and '.5' -> '0.5', so that one dose has one spelling."""
    if token[0] == ".":
        return "0" + token
    return token.replace(",", "")
