"""docs/api.md does what it says: its examples run against a server, its answer and its table are the real ones."""

import json
import re
import sys

from api.errors import INTERNAL, KINDS
from tests.api.documented import DOCS, blocks

TEXT = (DOCS / "api.md").read_text()


def test_examples(run):
    one, again, by_route = blocks(TEXT, "bash")
    answer = json.loads(run("bash", "-euc", one))
    (written,) = blocks(TEXT, "json")
    written = json.loads(written)
    # these three follow every edit of the rules
    written["safety"] |= {name: answer["safety"][name] for name in ("statement", "rules", "rules_version")}
    assert written == json.loads(json.dumps(answer), parse_float=lambda number: round(float(number), 6))
    assert json.loads(run("bash", "-euc", by_route))["items"] == []  # the tiny hospital's records tell no route
    assert run("bash", "-euc", again) == "304\n"
    (python,) = blocks(TEXT, "python")
    printed = run(sys.executable, "-c", python)
    assert printed.startswith("Checked against ")
    assert re.search("^   (serious|caution) with simvastatin - ", printed, re.M)
    assert re.search(r"^1 lisinopril 0\.\d\d because .+ \+0\.\d\d", printed, re.M)
    assert "withheld: amoxicillin - Allergy to a penicillin" in printed
    assert "version v1, data as of 2025-01-01" in printed


def test_every_problem_type_is_documented_with_its_status():
    documented = dict(re.findall(r"^\| `(/problems/[a-z-]+)` \| (\d+) \|", TEXT, re.M))
    ours = {kind.type: str(kind.status) for kind in (*KINDS.values(), INTERNAL)}
    assert documented == ours | {"/problems/not-found": "404"}
