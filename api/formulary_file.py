"""The path of a formulary in, the formulary as the file stands now out: read again when the file changed."""

from __future__ import annotations

import threading
from pathlib import Path

from api.errors import FormularyBroken
from recommender.errors import InputError
from recommender.formulary import Formulary
from recommender.vocabulary import DrugVocabulary


class FormularyFile:
    """Safe to share between threads. An empty path is no formulary."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._held: tuple[tuple[int, int], Formulary] | None = None

    def now(self, vocabulary: DrugVocabulary) -> Formulary:
        """Raises FormularyBroken: an old one is not told of."""
        if not self._path:
            return Formulary()
        path = Path(self._path)
        with self._lock:
            stamp = stamp_of(path)
            if self._held is None or self._held[0] != stamp:
                try:
                    self._held = stamp, Formulary.load(path, vocabulary)
                except InputError as error:
                    raise FormularyBroken(str(error)) from error
            return self._held[1]


def stamp_of(path: Path) -> tuple[int, int]:
    """Changes when the file does; what is not there is for the reader to explain."""
    try:
        about = path.stat()
    except OSError:
        return (0, 0)
    return about.st_mtime_ns, about.st_size
