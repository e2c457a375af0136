"""Who may import whom (docs/architecture.md), read from the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# the road of the data: a module may import only what stands on a line above its own
ROAD = [
    {"errors", "packing", "combinations", "event_kernel", "text_index"},
    {"ingest_log", "redis_places", "redis_wire", "sealing", "siv", "unchanged", "memory", "pace"},
    {"settings", "records", "vocabulary", "calibration"},
    {"assembly", "moments", "row_sums", "matrix", "blocks"},
    {"loaders", "features"},
    {"told", "observations", "sequence", "examples"},
    {"models"},
    {"topn_search"},
    {"topn_kernel"},
    {"ranking", "support", "formulary"},
    {"safety", "given"},
    {"snapshot", "evaluation", "part_lists", "data_quality", "balance", "feedback", "interaction_check", "catalogue"},
    {"explain", "embedded_redis", "pipeline", "run_files", "store_connection", "selection", "gate", "offer"},
    {"access", "store_index"},
    {"pseudonyms"},
    {"publication"},
    {"store", "live", "fallback"},
    {"model_files"},
    {"risk", "review"},
    {"orders", "offered", "stream"},
    {"watching"},
    {"audit", "forgotten", "reports", "update"},
    {"distributed"},
]


REDIS = ("redis_places", "store_connection", "store_index", "publication", "store")


def imports(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    names = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    return names | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def test_packages_keep_to_their_rooms():
    forbidden = {"recommender": {"api", "jobs", "flask", "click"}, "api": {"jobs"}, "jobs": {"api", "flask"}}
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for package, banned in forbidden.items()
        for file in modules(package)
        for name in imports(file)
        if name.split(".")[0] in banned
    ]
    assert not wrong


def test_redis_is_imported_by_the_store_alone():
    users = {
        f.relative_to(ROOT).as_posix()
        for p in ("recommender", "api", "jobs")
        for f in modules(p)
        if "redis" in imports(f)
    }
    assert users <= {f"recommender/{name}.py" for name in REDIS}


def test_implicit_is_imported_by_the_factor_models_alone():
    users = {
        f.relative_to(ROOT).as_posix()
        for p in ("recommender", "api", "jobs", "data")
        for f in modules(p)
        if any(name.split(".")[0] == "implicit" for name in imports(f))
    }
    assert users == {"recommender/models/factors.py"}


def test_pyspark_is_imported_by_one_package_alone_and_only_when_asked_for():
    users = [f for p in ("recommender", "api", "jobs", "data") for f in modules(p) if "pyspark" in str(imports(f))]
    assert {f.parent.relative_to(ROOT).as_posix() for f in users} == {"recommender/distributed/spark"}
    eager = [
        f.relative_to(ROOT).as_posix()
        for p in ("recommender", "api", "jobs", "data")
        for f in modules(p)
        for node in ast.parse(f.read_text()).body
        if isinstance(node, ast.ImportFrom) and "distributed.spark" in (node.module or "")
    ]
    assert all(name.startswith("recommender/distributed/spark/") for name in eager)


def test_the_road_runs_forwards_only():
    rank = {name: place for place, names in enumerate(ROAD) for name in names}
    wrong = []
    for file in modules("recommender"):
        here = file.relative_to(ROOT / "recommender").with_suffix("").parts[0]
        if here == "__init__":
            continue
        assert here in rank, f"{here} has no place on the road yet"
        for name in imports(file):
            parts = name.split(".")
            if parts[0] == "recommender" and len(parts) > 1 and parts[1] != here and rank[parts[1]] >= rank[here]:
                wrong.append(f"{here} imports {parts[1]}")
    assert not wrong


def test_only_settings_reads_the_environment():
    readers = [
        f.relative_to(ROOT).as_posix()
        for package in ("recommender", "api")
        for f in modules(package)
        if any(word in f.read_text() for word in ("os.environ", "getenv"))
    ]
    assert readers == ["recommender/settings.py"]


@pytest.mark.parametrize("package", ["recommender", "api", "jobs", "data"])
def test_every_module_says_what_it_does(package):
    silent = [f.name for f in modules(package) if not ast.get_docstring(ast.parse(f.read_text()))]
    assert not silent
