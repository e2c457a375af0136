"""A folder's name in, a new folder that appears whole or not at all, and that its owner alone can read, out."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recommender.errors import EngineError


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """The folder to write into; it is named `out` at the end. Raises EngineError where there is something already."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise EngineError(f"{out} is there already and not an empty folder: name a new one")
    before = os.umask(0o077)
    new = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        new.mkdir(parents=True)
        yield new
        if out.exists():
            out.rmdir()
        new.rename(out)
    except OSError as error:
        raise EngineError(f"{out} cannot be written: {error.strerror}") from error
    finally:
        os.umask(before)
        shutil.rmtree(new, ignore_errors=True)
