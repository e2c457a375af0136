"""A key in, the words for it out: everything that the pages and the problems say, in one catalogue a language.

Names of treatments and conditions come from the data and are never translated. What only programs are told (problems,
the pharmacy's answers) is English in every language.
"""

from __future__ import annotations

from api.words.en import EN
from api.words.zh import ZH

CATALOGUES: dict[str, dict[str, str]] = {"en": EN, "zh": ZH}
TAGS = {"en": "en", "zh": "zh-Hans"}  # as HTML names a language


class Words:
    """One language's words: `words("key", name=...)`, and `words.count("key", n)` for one or many."""

    def __init__(self, language: str = "en") -> None:
        self.language, self._words = language, CATALOGUES[language]

    def __call__(self, key: str, **values: object) -> str:
        text = self._words[key] if key in self._words else EN[key]
        return text.format(**values) if values else text

    def count(self, key: str, n: int, **values: object) -> str:
        return self(f"{key}.one" if n == 1 else f"{key}.other", n=f"{n:,}", **values)

    @property
    def tag(self) -> str:
        return self.tag_of(self.language)

    @staticmethod
    def tag_of(language: str) -> str:
        return TAGS[language]

    def or_else(self, key: str, default: str) -> str:
        """For keys made from the data's own words, such as a treatment's kind."""
        return self._words.get(key, EN.get(key, default))
