"""`rxrec conditions`, and what the page shows of it: only where a site asked for it, and apart from the list."""

import dataclasses
import json
import re

import pytest
from click.testing import CliRunner

from api import create_app
from api.words import EN
from data.synthetic import write_hospital
from jobs.__main__ import main
from recommender.store import open_store


@pytest.fixture
def rxrec(settings):
    environment = {"REDIS_URL": settings.redis_url, "RXREC_WORKDIR": str(settings.workdir)}

    def run(*words):
        return CliRunner().invoke(main, ["--json", *map(str, words)], env=environment, catch_exceptions=False)

    return run


def test_from_an_export_to_the_page(rxrec, settings, tmp_path):
    write_hospital(tmp_path / "sample", patients=250, seed=4)
    words = ("--input", tmp_path / "sample")
    told = rxrec("conditions", "train", *words)
    assert told.exit_code == 0, told.output
    quality = json.loads(told.stdout)["quality"]
    assert quality["low"] > quality["baseline"]["high"]
    assert rxrec("nightly", *words, "--model", "popularity").exit_code == 0

    def pages(settings):
        with open_store(settings) as store:
            client = create_app(settings, store).test_client()
            release = store.release(store.current())
            ids = sorted(patient_id for patient_id, _ in store.entries(release))[
                :48
            ]  # the store has them by pseudonym, in another order at each site
            return [client.post("/patient", data={"patient_id": one}).text for one in ids], client, ids

    plain, client, ids = pages(settings)
    assert not any(EN["review.heading"] in page for page in plain)
    asked = dataclasses.replace(settings, review_conditions=True)
    shown, other, _ = pages(asked)
    told_of = [place for place, page in enumerate(shown) if EN["review.heading"] in page]
    assert 0 < len(told_of) < len(shown)
    block = shown[told_of[0]].partition('id="to-review"')[2].partition("</div>")[0]
    assert "because" in block and EN["risk.synthetic"] in block
    # the answer of the API, and the list, are what they were
    for place in told_of[:3]:
        address = f"/v1/patients/{ids[place]}/recommendations"
        assert other.get(address).json == client.get(address).json
        lists = [
            re.sub(r"[0-9a-f]{16,32}", "", page.partition('id="list"')[2]) for page in (shown[place], plain[place])
        ]
        assert lists[0] == lists[1]  # but for the marks of the two forms

    # a model that cannot be read takes no list away
    for file in (settings.workdir / "review" / "conditions").glob("*/state.npz"):
        file.write_bytes(b"")
    broken, _, _ = pages(asked)
    assert [place for place, page in enumerate(broken) if EN["review.unreadable"] not in page] == []
    assert [place for place, page in enumerate(broken) if EN["list.heading"] not in page] == []


def test_what_is_worse_is_not_served(rxrec, settings, tmp_path):
    write_hospital(tmp_path / "sample", patients=250, seed=4)
    first = json.loads(rxrec("conditions", "train", "--input", tmp_path / "sample").stdout)
    write_hospital(tmp_path / "small", patients=80, seed=4)
    refused = rxrec("conditions", "train", "--input", tmp_path / "small")
    assert refused.exit_code == 9 and "patients: 80" in json.loads(refused.stdout)["message"]
    assert (settings.workdir / "review" / "conditions" / "current").read_text().strip() == first["version"]
