"""A site's secret is rotated, counted and never shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

from click.testing import CliRunner

from jobs.__main__ import main


def test_a_rotation_keeps_what_was_before_and_shows_no_secret(tmp_path: Path) -> None:
    def asked(*words: str) -> str:
        result = CliRunner().invoke(main, ["--workdir", str(tmp_path), *words], catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    assert asked("secret", "list") == "1\n"  # made at the first use
    first = (tmp_path / "site.key").read_text()
    said = asked("secret", "rotate")
    assert "secret number 2" in said
    second = (tmp_path / "site.key").read_text()
    assert second.endswith(first) and second.startswith("2:")
    assert json.loads(asked("--json", "secret", "list")) == {"numbers": [2, 1]}
    assert not re.search(r"[0-9a-f]{16}", said)
    assert (tmp_path / "site.key").stat().st_mode & 0o077 == 0
