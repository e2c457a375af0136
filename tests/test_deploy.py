"""What is deployed is locked: no root, nothing writable but its own folders, nothing reachable but what is named."""

import configparser
import re
import subprocess
from pathlib import Path

import pytest
import redis
import yaml

from recommender.access import Shared
from recommender.settings import Settings
from recommender.store import open_store

ROOT = Path(__file__).parent.parent
MANIFESTS = list(yaml.safe_load_all((ROOT / "docs/deploy/kubernetes/rxrec.yaml").read_text()))
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
UNITS = [
    ROOT / "docs/deploy" / name
    for name in ("systemd/rxrec.service", "systemd/rxrec-watch.service", "rxrec-nightly.service")
]
NO_DOOR = ("rxrec-nightly", "rxrec-watch")  # nobody asks them anything


def pods():
    for one in MANIFESTS:
        spec = one.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            yield one["metadata"]["name"], spec["template"]["spec"], spec["template"]["metadata"]["labels"]


@pytest.mark.parametrize(("name", "pod", "labels"), list(pods()), ids=[name for name, *_ in pods()])
def test_pods_run_with_nothing_that_they_do_not_need(name, pod, labels):
    of = pod["securityContext"]
    assert of["runAsNonRoot"] and of["runAsUser"] > 10_000 and of["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        rights = container["securityContext"]
        assert rights == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
        }  # fmt: skip
        assert set(container["resources"]) == {"requests", "limits"}
        assert not container["image"].endswith(":latest") and ":" in container["image"]
        assert name in NO_DOOR or {"livenessProbe", "readinessProbe"} <= set(container)
        assert all("value" not in one for one in container["env"] if "PASSWORD" in one["name"])


def test_nothing_is_reached_but_what_is_named():
    policies = {one["metadata"]["name"]: one["spec"] for one in MANIFESTS if one["kind"] == "NetworkPolicy"}
    assert policies.pop("nothing-else") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    known = {(key, value) for _, _, labels in pods() for key, value in labels.items()}
    for spec in policies.values():
        assert set(spec["podSelector"].get("matchLabels", {}).items()) <= known
    (to_redis,) = policies["redis"]["ingress"]
    assert to_redis["ports"] == [{"protocol": "TCP", "port": 6379}]
    assert {one["spec"].get("type", "ClusterIP") for one in MANIFESTS if one["kind"] == "Service"} == {"ClusterIP"}
    (config,) = (one["data"] for one in MANIFESTS if one["kind"] == "ConfigMap")
    assert config["RXREC_AUTH"] == "on" and config["RXREC_BASE_URL"].startswith("https://")


def test_the_containers_of_one_machine():
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for service in COMPOSE["services"].values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert "ports" not in COMPOSE["services"]["redis"]
    assert COMPOSE["services"]["server"]["ports"] == ["127.0.0.1:8000:8000"]
    said = (ROOT / "compose.yaml").read_text().replace("$(openssl rand -hex 32)", "")
    assert not re.search(r"(?i)password[=:] *(?![?$\s])", said)  # asked for, never given


def test_the_image_is_not_root_and_every_package_in_it_has_a_hash():
    assert DOCKERFILE.index("USER 10001:10001") < DOCKERFILE.index("ENTRYPOINT")
    assert "--require-hashes" in DOCKERFILE and "RXREC_AUTH=on" in DOCKERFILE
    asked = set(re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M))
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {word for line in asked for word in line.split()} == kept
    assert all((ROOT / name).exists() for name in kept)


def test_the_image_has_the_versions_that_were_tested_and_no_others():
    def pins(file):
        return set(re.findall(r"^([A-Za-z0-9._-]+==\S+)", (ROOT / file).read_text(), re.M))

    tested, shipped = pins("requirements.txt"), pins("docs/deploy/requirements.txt")
    assert shipped < tested
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    asked = {re.split(r"[>\[;]", line)[0].strip() for line in config["options"]["install_requires"].split("\n") if line}
    assert asked <= {pin.partition("==")[0] for pin in shipped}, "run `make lock`"
    assert not {pin.partition("==")[0] for pin in shipped} & {"pytest", "playwright", "hypothesis", "mypy", "ruff"}


def test_what_is_installed_is_whole():
    """Templates, styles and tables lie beside the code in a checkout, but come into a wheel only where setup.cfg names
    them: an image without them could run no night and show no page."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    patterns = config["options.package_data"]["*"].split(", ")
    rooms = [ROOT / name for name in ("recommender", "api", "jobs", "data")]
    packages = [init.parent for room in rooms for init in room.rglob("__init__.py")]
    installed = {file for package in packages for pattern in patterns for file in package.glob(pattern)}
    there = {
        file
        for room in rooms
        for file in room.rglob("*")
        if file.is_file() and file.suffix != ".py" and "__pycache__" not in file.parts
    }
    assert len(there) > 60 and there <= installed, sorted(str(file.relative_to(ROOT)) for file in there - installed)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_units_are_sound_and_locked(unit, tmp_path):
    text = unit.read_text()
    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=\n", "UMask=0077"):
        assert line in text
    copies = [tmp_path / unit.name]
    copies[0].write_text(text.replace("/opt/rxrec/bin/rxrec", "/bin/true"))
    if (timer := unit.with_suffix(".timer")).exists():
        copies.append(tmp_path / timer.name)
        copies[1].write_text(timer.read_text())
    checked = subprocess.run(["systemd-analyze", "verify", *map(str, copies)], capture_output=True, text=True)
    assert unit.stem not in checked.stderr, checked.stderr


def test_all_units_are_locked_alike_and_of_one_installation():
    locks = r"^(?:Protect|Restrict[A-Z]|Private|NoNew|Lock|Capability|Ambient|System).*$"
    server, *others = (set(re.findall(locks, unit.read_text(), re.M)) for unit in UNITS)
    assert len(server) > 15 and all(other == server for other in others)
    for line in ("User=rxrec", "StateDirectory=rxrec", "EnvironmentFile=/etc/rxrec/environment", "/var/lib/rxrec"):
        assert all(line in unit.read_text() for unit in UNITS)


def test_the_redis_user_of_the_documentation_can_do_what_is_needed_and_no_more(start_redis, tmp_path, tiny_snapshot):
    (rule,) = re.findall(r"`ACL SETUSER rxrec (.+?)`", (ROOT / "docs/security.md").read_text())
    server = start_redis()
    with redis.Redis.from_url(server.url) as raw:
        raw.execute_command("ACL", "SETUSER", "rxrec", *rule.replace("PASSWORD", "secret").split())
    url = server.url.replace("redis://", "redis://rxrec:secret@")
    with open_store(Settings(workdir=tmp_path, redis_url=url)) as store:
        store.publish(tiny_snapshot("v1"))
        store.activate("v1")
        store.publish(tiny_snapshot("v2"))
        store.activate("v2")
        assert store.rollback() == "v1"
    shared = Shared(url, "rxrec")
    assert shared.first_time("x", 10) and not shared.first_time("x", 10) and shared.count("who", 60)[0] == 1
    shared.close()
    with redis.Redis.from_url(url) as limited:
        for command in (("FLUSHALL",), ("CONFIG", "GET", "*"), ("SHUTDOWN",), ("GET", "another"), ("DEBUG", "JMAP")):
            with pytest.raises(redis.exceptions.ResponseError):
                limited.execute_command(*command)
