"""A page of the documentation and a language in, its examples in that language out."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)
