"""A night on Spark is the night of one machine: on threads, on a real standalone cluster, and with a machine lost."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from benchmarks.standalone import LOOPBACK, Cluster, kill, running_cluster
from data.synthetic import write_hospital
from recommender.settings import Settings
from recommender.store import open_store
from tests.recommender.redis_nodes import cluster as in_cluster
from tests.recommender.redis_nodes import three_nodes

pytestmark = pytest.mark.slow
LOCAL = "local[2]"
MODEST = {  # two cores and little memory
    **LOOPBACK,
    "spark.driver.memory": "800m",
    "spark.executor.memory": "700m",
    "spark.sql.shuffle.partitions": "4",
    "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",  # starts sooner
    "spark.executor.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
}
# everything is done twice that takes a little longer than the rest
HASTY = {
    "spark.speculation": "true",
    "spark.speculation.quantile": "0.1",
    "spark.speculation.multiplier": "1.01",
    "spark.speculation.interval": "50ms",
    "spark.speculation.minTaskRuntime": "0ms",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def exports(tmp_path_factory, real_data_or_none) -> dict[str, tuple[str, Path]]:
    sample = tmp_path_factory.mktemp("hospital")
    write_hospital(sample, patients=400, seed=7)
    found = {"sample": ("synthea", sample)}
    if real_data_or_none is not None:
        found["mimic"] = ("mimic", real_data_or_none / "mimic_iv_demo")
    return found


@pytest.fixture(scope="module")
def real_data_or_none(request) -> Path | None:
    with contextlib.suppress(pytest.skip.Exception):
        return request.getfixturevalue("real_data")
    return None


def begun(settings: Settings, source: str, folder: Path | str, *more: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "REDIS_URL": settings.redis_url, "RXREC_WORKDIR": str(settings.workdir)}
    environment |= {"RXREC_KEY_PREFIX": settings.key_prefix}
    words = ["--json", "nightly", "--source", source, "--input", str(folder), "--gate", "off", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "jobs", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(night: subprocess.Popen[str]) -> dict:
    out, errors = night.communicate(timeout=1_500)
    assert night.returncode == 0, out + errors[-4_000:]
    return json.loads(out)


def on(master: str, parts: int = 3, **conf: str) -> list[str]:
    settings = [f"{name}={value}" for name, value in {**MODEST, **conf}.items()]
    words = ["--engine", "spark", "--master", master, "--parts", str(parts)]
    return [*words, *(word for one in settings for word in ("--spark-conf", one))]


def served(settings: Settings) -> tuple[dict, dict]:
    """The manifest and every patient's entry, of what is served."""
    with open_store(settings) as store:
        release = store.release(store.current())
        return {**release.manifest, "created": ""}, dict(store.entries(release))


def assert_same(found: tuple[dict, dict], expected: tuple[dict, dict]) -> None:
    """Item for item, scores to 1e-5 (they are the same to the bit here), the same rows, charts and manifest."""
    (manifest, entries), (other_manifest, others) = found, expected
    assert entries.keys() == others.keys()
    for patient_id, entry in entries.items():
        other = others[patient_id]
        np.testing.assert_array_equal(entry.columns, other.columns)
        np.testing.assert_allclose(entry.scores, other.scores, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(entry.row_columns, other.row_columns)
        np.testing.assert_array_equal(entry.row_weights, other.row_weights)
        for name in ("concept", "days", "value", "age", "sex"):
            np.testing.assert_array_equal(getattr(entry.chart, name), getattr(other.chart, name))
    assert manifest == other_manifest


@pytest.fixture(scope="module")
def one_machine(exports, redis_server, tmp_path_factory) -> dict[str, tuple[dict, dict]]:
    """What one machine serves of each export."""
    found = {}
    for name, (source, folder) in exports.items():
        settings = Settings(tmp_path_factory.mktemp("one"), redis_server.url[:-1] + "1", key_prefix=f"one-{name}")
        ended(begun(settings, source, folder))
        found[name] = served(settings)
    return found


@pytest.fixture
def settings(tmp_path, redis_url) -> Settings:
    return Settings(tmp_path, redis_url)


@pytest.mark.parametrize("name", ["sample", pytest.param("mimic", marks=pytest.mark.real_data)])
@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_the_lists_are_those_of_one_machine(name, where, exports, one_machine, cluster, settings):
    if name not in exports:
        pytest.skip("the MIMIC-IV demo is not there")
    conf = on(LOCAL) if where == "threads" else on(cluster.url, **HASTY)
    ended(begun(settings, *exports[name], *conf))
    assert_same(served(settings), one_machine[name])


def test_tables_may_be_parquet_or_ndjson_in_parts_and_at_an_address(exports, one_machine, settings, tmp_path):
    """Typed columns, drugs in two NDJSON files, visits in a folder as Spark writes one, and not one of them CSV."""
    _, sample = exports["sample"]
    for file in sample.glob("*.csv"):
        table = pa.csv.read_csv(file, parse_options=pa.csv.ParseOptions(newlines_in_values=True))
        half = len(table) // 2
        if file.stem == "medications":
            for part, rows in enumerate((table.slice(0, half), table.slice(half))):
                lines = (
                    json.dumps({k: v for k, v in row.items() if v is not None}, default=str) for row in rows.to_pylist()
                )
                (tmp_path / f"medications-{part}.ndjson").write_text("\n".join(lines))
        elif file.stem == "encounters":
            (tmp_path / "encounters").mkdir()
            (tmp_path / "encounters/_SUCCESS").touch()
            for part, rows in enumerate((table.slice(0, half), table.slice(half))):
                pa.parquet.write_table(rows, tmp_path / f"encounters/part-0000{part}.parquet")
        else:
            pa.parquet.write_table(table, tmp_path / f"{file.stem}.parquet")
    ended(begun(settings, "synthea", f"file://{tmp_path}", *on(LOCAL)))
    assert_same((one_machine["sample"][0], served(settings)[1]), one_machine["sample"])


@pytest.mark.parametrize("stage", ["fit and score", "publish"])
def test_a_machine_is_lost_in_mid_run(stage, exports, one_machine, settings, tmp_path):
    events = tmp_path / "events.jsonl"
    (tmp_path / "cluster").mkdir()
    with running_cluster(tmp_path / "cluster") as cluster:
        night = begun(settings, *exports["sample"], *on(cluster.url, parts=6), "--events", str(events))
        while not any((event.get("stage"), event.get("state")) == (stage, "begun") for event in told(events)):
            assert night.poll() is None, night.communicate()
            time.sleep(0.05)
        time.sleep(0.3)
        kill(cluster.workers[0])
        ended(night)
    assert_same(served(settings), one_machine["sample"])


def test_the_store_may_be_a_cluster_of_redis(exports, one_machine, cluster, settings, start_redis):
    with three_nodes(start_redis) as nodes:
        settings = in_cluster(settings, nodes)
        ended(begun(settings, *exports["sample"], *on(cluster.url)))
        assert_same(served(settings), one_machine["sample"])


def test_a_job_that_fails_leaves_what_is_served(exports, settings, tmp_path):
    """The store is full as soon as the new version has begun to be written."""
    source, folder = exports["sample"]
    ended(begun(settings, source, folder))
    before, events = served(settings), tmp_path / "events.jsonl"
    with open_store(settings) as store:
        held = set(store._client.keys("*"))
        night = begun(settings, source, folder, *on(LOCAL, parts=6), "--events", str(events))
        while set(store._client.keys("*")) == held and night.poll() is None:
            time.sleep(0.01)
        store._client.config_set("maxmemory", 1)
        try:
            night.communicate(timeout=600)
        finally:
            store._client.config_set("maxmemory", 0)
        assert night.returncode == 4
        assert set(store._client.keys("*")) == held
    assert_same(served(settings), before)


def test_als_is_fitted_by_mllib(exports, settings):
    source, folder = exports["sample"]
    compiled = {"spark.driver.extraJavaOptions": "-XX:+UseSerialGC"}  # MLlib's loops need the whole compiler
    told = ended(begun(settings, source, folder, "--model", "als", *on(LOCAL, **compiled)))
    assert told["chosen"]["model"]["name"] == "als"
    manifest, entries = served(settings)
    assert manifest["coverage"]["patients_with_list"] == len(entries) == 400


def told(file: Path) -> list[dict]:
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]
