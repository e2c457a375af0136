"""Events leave signed, until the receiver takes them; what it never takes is kept and can be replayed."""

import base64
import hashlib
import hmac
import http.server
import threading

import orjson
import pytest

from recommender.access import SiteSecret
from recommender.errors import EngineError
from recommender.observations import Alarm, Event
from recommender.stream import Events, Readings, Settlement
from recommender.watching.detected_issue import detected_issue
from recommender.watching.webhook import DELAYS, Receiver, Sender, receiver, signature
from tests.recommender.watching import POTASSIUM, place, reading

ALARM = Alarm("threshold", "potassium-6.5", "serious", "", "", "High.", "Act.", "Potassium 7 mmol/L", "a source")


class Receiving:
    """A receiver on a port: `statuses` are what it answers, one after the other, then 204."""

    def __init__(self, *statuses):
        self.statuses, self.got = list(statuses), []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((dict(self.headers), body))
                self.send_response(outer.statuses.pop(0) if outer.statuses else 204)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiving():
    made = []

    def start(*statuses):
        made.append(Receiving(*statuses))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def events(settings):
    """Three events that are due."""
    readings = Readings(place(settings))
    for number in range(3):
        who = f"PAT-{number}"
        person = readings.apply([reading("a", who, POTASSIUM, 7.0)])[who]
        told = Event("", who, "raised", ALARM, person.newest[POTASSIUM], 1_000 * number, "v1")
        assert readings.settle([Settlement(person, b"{}", (told,))], True) == [True]
    return Events(readings.place)


def sender(events, url, seconds, troubles):
    return Sender(events, Receiver(url, b"k" * 32), troubles.append, lambda: seconds[0])


def test_signed_as_standard_webhooks_says(events, receiving):
    """By hand: HMAC-SHA-256 under the key of "id.timestamp.body", in base64."""
    there = receiving()
    assert sender(events, there.url, [1_700_000_000.0], []).turn() == 3
    for headers, body in there.got:
        signed = f"{headers['webhook-id']}.1700000000.".encode() + body
        expected = base64.b64encode(hmac.new(b"k" * 32, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}" and headers["webhook-timestamp"] == "1700000000"
        issue = orjson.loads(body)
        assert (issue["resourceType"], issue["id"]) == ("DetectedIssue", headers["webhook-id"])
    assert {orjson.loads(body)["patient"]["reference"] for _, body in there.got} == {
        f"Patient/PAT-{n}" for n in range(3)
    }
    assert events.counts() == {"events": 3, "due": 0, "undelivered": 0}


def test_the_example_of_the_specification():
    """https://github.com/standard-webhooks/standard-webhooks, its libraries' common test."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == expected


def test_a_receiver_that_fails_is_tried_again_later_and_gets_each_once(events, receiving):
    there, seconds, troubles = receiving(500, 302, 429), [100.0], []
    one = sender(events, there.url, seconds, troubles)
    assert one.turn() == 3 and events.counts()["due"] == 3
    assert sorted(troubles) == [f"the receiver answered {status}" for status in (302, 429, 500)]
    assert one.turn() == 0  # not yet
    seconds[0] += 1.2 * DELAYS[0] + 0.01
    assert one.turn() == 3 and events.counts()["due"] == 0
    assert len(there.got) == 6 and len({headers["webhook-id"] for headers, _ in there.got}) == 3


def test_what_is_never_taken_is_kept_apart_and_replayed(events, receiving):
    there, seconds, troubles = receiving(), [100.0], []
    dead = sender(events, "http://127.0.0.1:9/", seconds, troubles)  # nobody listens on the discard port
    for _ in range(len(DELAYS) + 1):
        assert dead.turn() == 3
        seconds[0] += 1.3 * max(DELAYS)
    assert dead.turn() == 0 and events.counts() == {"events": 3, "due": 0, "undelivered": 3}
    assert [one.tries for one in events.undelivered()] == [len(DELAYS) + 1] * 3
    first = events.undelivered()[0].event
    assert events.replay([first.id, "1-1"]) == 1 and events.replay() == 2
    assert sender(events, there.url, [10**10], []).turn() == 3
    assert events.counts() == {"events": 3, "due": 0, "undelivered": 0}


def test_a_sender_that_is_killed_leaves_what_it_had_to_the_next(events, receiving):
    there = receiving()
    assert len(events.claim(100_000, 10)) == 3  # and killed
    assert sender(events, there.url, [101.0], []).turn() == 0
    assert sender(events, there.url, [161.0], []).turn() == 3


@pytest.mark.parametrize(
    "url", ["ftp://a", "http://hospital.example.org/x", "https://user@a.example", "https://a.example:x/", "nonsense"]
)
def test_it_goes_over_tls_or_stays_on_this_machine(url):
    with pytest.raises(EngineError, match="RXREC_WEBHOOK"):
        Receiver(url, b"")


def test_the_key_is_the_sites_own(tmp_path):
    secret = SiteSecret.load(tmp_path / "site.key")
    made = receiver("https://a.example/x", secret)
    assert made.secret.startswith("whsec_") and base64.b64decode(made.secret[6:]) == secret.derive("webhook")


def test_an_id_that_is_none_of_fhirs_is_told_by_identifier_alone():
    told = Event("1-0", "ward 3/7", "ended", ALARM, reading("a", "x", POTASSIUM, 5), 0, "v1")
    issue = detected_issue(told)
    assert "reference" not in issue["patient"] and issue["patient"]["identifier"]["value"] == "ward 3/7"
    assert issue["status"] == "cancelled" and issue["detail"].startswith("No longer holds: High.")
