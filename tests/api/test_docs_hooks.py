"""docs/cds-hooks.md and the live part of docs/api.md do what they say: examples run, answers and tables are real."""

import json
import re
import sys

from api.cds_hooks import SERVICES
from api.cds_reading import PREFETCH
from recommender.feedback import FeedbackLog
from tests.api.cds import whole
from tests.api.documented import DOCS, blocks

TEXT = (DOCS / "cds-hooks.md").read_text()


def test_examples_in_curl(run):
    discovery, call = blocks(TEXT, "bash")
    assert len(whole(json.loads(run("bash", "-euc", discovery)), "discovery")["services"]) == 3
    answer = whole(json.loads(run("bash", "-euc", call)))
    (card,) = answer["cards"]
    card["uuid"] = "(a text to report what became of the card with)"
    card["source"]["label"] = re.sub(
        r"rules \w+, reviewed up to [\d-]+", "rules (version), reviewed up to (date)", card["source"]["label"]
    )
    (written,) = blocks(TEXT, "json")
    assert json.loads(written) == answer


def test_example_in_python(run, settings):
    (python,) = blocks(TEXT, "python")
    printed = run(sys.executable, "-c", python)
    assert printed.startswith("critical amoxicillin: contraindicated.")
    assert "{'stored': 1, 'already': 0, 'unknown': []}" in printed
    (event,) = FeedbackLog(settings.workdir).events()
    assert (event.patient_id, event.reason, event.comment) == ("PAT-3", "tolerated-before", "Two courses in 2024.")


def test_tables():
    assert dict(re.findall(r"^\| `(\w+)` \| `(\w+.*?)` \|$", TEXT, re.M)) == PREFETCH
    named = re.findall(r"^\| `([a-z-]+)` \| `((?:patient|order)-[a-z]+)` \|", TEXT, re.M)
    assert named == [(one.id, one.hook) for one in SERVICES]


def test_a_uuid_is_as_long_as_the_page_says(client, published):
    from tests.api.cds import VIEW, call

    for patient in ("PAT-2", "PAT-4"):
        for card in client.post(f"/cds-services/{VIEW}", json=call(VIEW, None, patient=patient)).json["cards"]:
            assert 150 <= len(card.get("uuid", "x" * 150)) <= 400


# --- docs/api.md -----------------------------------------------------------------------------------------------------

API = (DOCS / "api.md").read_text()


def test_examples_of_charts_and_batches(run):
    chart, bundle, batch = re.findall(r"```shell\n(.*?)```", API, re.S)
    sent = json.loads(run("bash", "-euc", chart))
    assert sent["source"] == "live" and 1 <= len(sent["items"]) <= 3
    assert [drug["name"] for drug in sent["current_therapy"]] == ["lisinopril", "metformin"]
    read = json.loads(run("bash", "-euc", bundle))
    assert read["source"] == "live" and read["kinds"] == ["drug"]
    assert "allergies" in {gap["about"] for gap in read["not_checked"]}
    lines = [json.loads(line) for line in run("bash", "-euc", batch).splitlines()]
    assert [line["position"] for line in lines] == [0, 1, 2]
    assert [line.get("type") for line in lines] == [None, "/problems/unknown-patient", None]
