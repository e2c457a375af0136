"""One request sees one version, whatever is published meanwhile; a store that dies is said, and comes back."""

import math
import subprocess
import threading

import pytest

from api import create_app
from api.formulary_file import FormularyFile
from api.serving import DeskCache
from recommender.models.linear import LinearModel
from recommender.models.popularity import PopularityModel
from recommender.settings import Settings
from recommender.store import open_store

PATIENT = "7f3c0001-0000-4000-8000-000000000001"
ROUTE = f"/v1/patients/{PATIENT}/recommendations"


class Watched:
    """A store that counts what is asked of it, and does something just before an entry is read."""

    def __init__(self, store, before_entry=lambda: None):
        self.store, self.before_entry, self.asked = store, before_entry, []
        self.url = store.url

    def __getattr__(self, name):
        def call(*arguments):
            self.asked.append(name)
            if name in ("entry", "current_entry"):
                self.before_entry()
            return getattr(self.store, name)(*arguments)

        return call


@pytest.fixture
def publish(store, ward):
    def publish(version, model=None):
        store.publish(ward(version, model))
        store.activate(version)

    return publish


def test_the_pointer_is_read_once_a_request_and_the_release_once_a_version(settings, store, publish):
    publish("v1")
    watched = Watched(store)
    client = create_app(settings, watched).test_client()
    for _ in range(3):
        assert client.get(ROUTE).json["version"] == "v1"
    assert watched.asked == ["current", "release", "entry", "current_entry", "current_entry"]  # one journey each
    publish("v2")
    assert client.get(ROUTE).json["version"] == "v2"
    assert watched.asked[-4:] == ["current_entry", "current", "release", "entry"]
    assert client.get("/v1/patients/NOBODY/recommendations").status_code == 404
    assert watched.asked[-3:] == ["current_entry", "current", "entry"]


def test_a_version_published_in_the_middle_of_a_request_is_the_next_requests(settings, store, publish):
    publish("v1", LinearModel())
    watched = Watched(store)
    client = create_app(settings, watched).test_client()
    alone = client.get(ROUTE).json
    watched.before_entry = lambda: publish("v2", PopularityModel()) if store.current() == "v1" else None
    client.application.extensions["rxrec"]._open[1]._held = ()  # as a process that has just started reads it
    assert client.get(ROUTE).json == alone
    assert client.get(ROUTE).json["version"] == "v2"


def test_a_version_retired_in_the_middle_of_a_request_gives_way_to_the_newest(settings, store, publish):
    publish("v1")
    watched = Watched(store)
    client = create_app(settings, watched).test_client()
    client.get(ROUTE)

    def overtake():
        watched.before_entry = lambda: None
        publish("v2")
        publish("v3")  # two versions are kept: v1 is gone

    watched.before_entry = overtake
    answer = client.get(ROUTE)
    assert (answer.status_code, answer.json["version"]) == (200, "v3")


def test_a_version_retired_before_its_release_is_read(settings, store, publish):
    publish("v1")

    class Late(Watched):
        def current(self):
            found = self.store.current()
            if found == "v1":
                publish("v2")
                publish("v3")
            return found

    assert create_app(settings, Late(store)).test_client().get(ROUTE).json["version"] == "v3"


def test_eight_threads_through_three_versions(settings, store, publish):
    publish("v1", LinearModel())
    app = create_app(settings, store)
    wrong, seen, stop = [], set(), threading.Event()

    def ask():
        client = app.test_client()
        while not stop.is_set():
            body = client.get(ROUTE).json
            seen.add(body.get("version"))
            sums = [math.fsum(r["contribution"] for r in item["reasons"]) - item["score"] for item in body["items"]]
            if max(map(abs, sums)) > 1e-5:
                wrong.append(body["version"])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    publish("v2", PopularityModel())
    publish("v3", LinearModel())
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert seen <= {"v1", "v2", "v3"}
    assert app.test_client().get(ROUTE).json["version"] == "v3"


def test_the_release_before_is_held_and_older_ones_are_not(store, publish):
    publish("v1")
    watched = Watched(store)
    cache = DeskCache(watched, Settings(), FormularyFile(""))
    first = cache.current()
    publish("v2")
    cache.current()
    store.rollback()
    assert cache.current() is first
    publish("v3")
    publish("v4")
    assert cache.current().release.version == "v4"
    assert watched.asked.count("release") == 3  # v1, v2, v4


def test_store_dies_and_comes_back(start_redis, tmp_path, ward):
    server = start_redis()
    settings = Settings(workdir=tmp_path, redis_url=server.url)
    with open_store(settings) as store:
        store.publish(ward("v1"))
        store.activate("v1")
        client = create_app(settings, store).test_client()
        assert client.get(ROUTE).status_code == client.get("/health/ready").status_code == 200

        server.process.kill()
        server.process.wait()
        down = client.get(ROUTE)
        assert (down.status_code, down.json["type"]) == (503, "/problems/store-unavailable")
        assert int(down.headers["Retry-After"]) > 0
        assert PATIENT not in down.text
        assert client.get("/health/ready").json["type"] == "/problems/store-unavailable"
        assert client.get("/health/live").status_code == 200
        for page in (client.get("/"), client.post("/patient", data={"patient_id": PATIENT})):
            assert page.status_code == 503
            assert "cannot be reached just now" in page.text

        again = subprocess.Popen(server.process.args)  # on the same port, empty
        try:
            for _ in range(10_000):
                if client.get("/health/ready").json["type"] == "/problems/nothing-published":
                    break
            assert client.get(ROUTE).json["type"] == "/problems/nothing-published"
            store.publish(ward("v2"))
            store.activate("v2")
            assert client.get(ROUTE).json["version"] == "v2"
        finally:
            again.kill()
            again.wait()


def test_a_store_that_is_down_at_the_start_is_joined_when_it_is_up(start_redis, tmp_path, ward):
    server = start_redis()
    server.process.kill()
    server.process.wait()
    app = create_app(Settings(workdir=tmp_path, redis_url=server.url))
    client = app.test_client()
    assert client.get(ROUTE).json["type"] == "/problems/store-unavailable"
    assert client.get("/health/live").status_code == 200
    again = subprocess.Popen(server.process.args)
    try:
        for _ in range(10_000):
            if client.get("/health/ready").json["type"] == "/problems/nothing-published":
                break
        with open_store(Settings(workdir=tmp_path, redis_url=server.url)) as store:
            store.publish(ward("v1"))
            store.activate("v1")
        assert client.get(ROUTE).json["version"] == "v1"
        app.extensions["rxrec"].close()
        app.extensions["rxrec"].close()  # twice does no harm
        assert client.get(ROUTE).json["version"] == "v1"  # opened anew
        app.extensions["rxrec"].close()
    finally:
        again.kill()
        again.wait()


def test_a_store_that_was_handed_in_is_the_callers_to_close(settings, store, publish):
    publish("v1")
    app = create_app(settings, store)
    app.extensions["rxrec"].close()
    assert app.test_client().get(ROUTE).status_code == 200


def test_the_embedded_server_is_shared_and_left(tmp_path, ward):
    settings = Settings(workdir=tmp_path)
    with open_store(settings) as store:
        store.publish(ward("v1"))
        store.activate("v1")
        apps = [create_app(settings), create_app(settings)]
        assert [app.test_client().get(ROUTE).json["version"] for app in apps] == ["v1", "v1"]
        apps[0].extensions["rxrec"].close()
        assert apps[1].test_client().get(ROUTE).status_code == 200
        apps[1].extensions["rxrec"].close()
        store.ping()
