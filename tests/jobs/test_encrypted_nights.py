"""A night whose files are encrypted: nobody's data lies on disk in clear, and it can be taken up all the same."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from data.synthetic import write_hospital
from jobs.__main__ import main
from recommender.errors import StoreUnavailable
from recommender.sealing import MAGIC
from recommender.store import Store, open_store

IN_CLEAR = {"run.json", "lock", "manifest", "ingest.json", "gate.json", "site.key"}  # beside the model's card


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hospital") / "sample"
    write_hospital(folder, patients=400, seed=3)
    return folder


def night(settings, hospital: Path, workdir: Path, encrypt: str, *words: str):
    told = ["--json", "nightly", "--input", str(hospital), "--gate", "off", "--model", "patients", "--resume", *words]
    environment = {"REDIS_URL": settings.redis_url, "RXREC_WORKDIR": str(workdir), "RXREC_ENCRYPT_FILES": encrypt}
    return CliRunner().invoke(main, told, env=environment)


def content(workdir: Path) -> dict[str, bytes]:
    return {f.relative_to(workdir).as_posix(): f.read_bytes() for f in workdir.rglob("*") if f.is_file()}


def test_nothing_of_a_patient_is_on_disk_in_clear_and_a_night_is_taken_up(settings, hospital, tmp_path, monkeypatch):
    def killed(*_):
        raise StoreUnavailable("away")

    # a night in clear that dies before it publishes: what the test looks for is there
    with monkeypatch.context() as patch:
        patch.setattr(Store, "publish", killed)
        assert night(settings, hospital, tmp_path, "off").exit_code == 4
        plain = content(tmp_path)
        (manifest,) = (held for name, held in plain.items() if name.endswith("release/manifest") and "/stages/" in name)
        examples = json.loads(manifest)["manifest"]["example_patients"]  # of a made-up hospital, shown to everybody
        ids = {line.partition(",")[0] for line in (hospital / "patients.csv").read_text().splitlines()[1:]}
        private = [one.encode() for one in sorted(ids - set(examples))[:40]]
        assert len(private[0]) > 20 and any(private[0] in held for held in plain.values())
        # the same night again, now to be encrypted: nothing of before is kept, and nothing lies there in clear
        assert night(settings, hospital, tmp_path, "on").exit_code == 4
    stored = content(tmp_path)
    stages = {name for name in stored if "/stages/" in name}
    assert len(stages) > 30 and {name for name in plain if "/stages/" in name} == stages
    assert sum(name.startswith("cache/") for name in stored) > 10
    for name, held in stored.items():
        assert not any(one in held for one in private), name
        in_clear = Path(name).name in IN_CLEAR and name not in stages
        assert in_clear or "/card/" in name or held.startswith(MAGIC), name

    elsewhere = tmp_path.parent / "elsewhere"
    shutil.copytree(tmp_path, elsewhere)
    (elsewhere / "site.key").write_text("1:" + "00" * 32 + "\n")
    failed = night(settings, hospital, elsewhere, "on")
    assert failed.exit_code == 1
    assert "stages/" in failed.output and "is encrypted under another secret" in failed.output

    done = night(settings, hospital, tmp_path, "on")
    assert done.exit_code == 0, done.output
    version = json.loads(done.stdout)["version"]
    assert version in next(iter(stages))
    with open_store(settings) as store:
        assert store.current() == version
