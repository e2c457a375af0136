"""Commands sent together to a real server: their answers, refusals among them, and a server that hung up; transactions
under a token."""

import os

import pytest
import redis

from recommender.redis_wire import wire
from recommender.store_connection import TRIES, Connection


@pytest.fixture
def connection(redis_url):
    found = Connection(redis_url, "rxrec")
    found.client.hset("rxrec:h", mapping={"a": "1"})
    found.client.set("rxrec:s", "2")
    yield found
    found.client.close()


def test_answers_come_in_order_and_none_is_for_nothing(connection):
    assert connection.asked(("GET", "rxrec:s"), ("HGETALL", "rxrec:h"), ("GET", b"rxrec:none")) == [
        b"2", [b"a", b"1"], None,
    ]  # fmt: skip
    assert connection.asked() == []


def test_after_a_refusal_the_next_question_gets_its_own_answer(connection):
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        connection.asked(("GET", "rxrec:s"), ("GET", "rxrec:h"), ("GET", "rxrec:none"))
    assert connection.asked(("GET", "rxrec:s")) == [b"2"]
    assert connection.client.client_id() != connection.asked(("CLIENT", "ID"))[0]  # which is kept for what is asked


def test_one_connection_stays_for_one_question_after_another(connection):
    assert len({connection.asked(("CLIENT", "ID"))[0] for _ in range(3)}) == 1


def test_a_child_process_has_its_own_connections(connection):
    (mine,) = connection.asked(("CLIENT", "ID"))
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, b"%d" % connection.asked(("CLIENT", "ID"))[0])
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(reading, 20)) != mine
    assert connection.asked(("CLIENT", "ID")) == [mine]


def test_a_server_that_hung_up_is_asked_once_more(connection, redis_url):
    connection.asked(("PING",))
    with redis.Redis.from_url(redis_url) as other:
        other.client_kill_filter(_type="normal", skipme=True)
    assert connection.asked(("GET", "rxrec:s")) == [b"2"]


def test_a_server_that_is_gone_is_said(connection, monkeypatch):
    tries = []

    def refuse(self):
        tries.append(1)
        raise redis.ConnectionError("gone")

    connection.client.connection_pool.disconnect()
    monkeypatch.setattr(redis.Connection, "connect", refuse)
    with pytest.raises(redis.ConnectionError):
        connection.asked(("PING",))
    assert tries


TOKEN = "rxrec:publishing"


def put(value: bytes) -> tuple[list[bytes], int]:
    return [wire(("SET", "rxrec:s", value)), wire(("RPUSH", "rxrec:l", value))], 2


@pytest.fixture
def fence(connection):
    connection.client.set(TOKEN, b"mine")
    with connection.fencing(TOKEN, b"mine") as found:
        yield found


def test_a_transaction_is_answered_before_the_next_is_sent(connection, fence):
    for value in (b"a", b"b", b"c"):
        assert fence.send(*put(value))
    assert fence.settle()
    assert fence.settle()  # nothing is under way
    assert connection.client.lrange("rxrec:l", 0, -1) == [b"a", b"b", b"c"]


def test_nothing_is_done_once_the_token_is_anothers(connection, fence):
    assert fence.send(*put(b"a")) and fence.settle()
    connection.client.set(TOKEN, b"theirs")
    # it was ours at the look that went with the first one: this is sent, and undone
    assert fence.send(*put(b"b")) and not fence.settle()
    assert not fence.send(*put(b"c"))
    assert connection.client.lrange("rxrec:l", 0, -1) == [b"a"]
    with connection.fencing(TOKEN, b"mine") as late:
        assert not late.send(*put(b"d"))
    assert connection.client.get("rxrec:s") == b"a"


def test_a_token_that_was_prolonged_undoes_nothing_for_good(connection, fence):
    assert fence.send(*put(b"a")) and fence.settle()
    connection.client.expire(TOKEN, 60)
    assert fence.send(*put(b"b")) and fence.settle()
    assert connection.client.lrange("rxrec:l", 0, -1) == [b"a", b"b"]


def test_a_token_that_is_touched_again_and_again_is_given_up(connection, fence, monkeypatch):
    assert fence.send(*put(b"a")) and fence.settle()
    send, sent = fence._send, []

    def send_late():
        connection.client.expire(TOKEN, 60)
        sent.append(1)
        send()

    monkeypatch.setattr(fence, "_send", send_late)
    assert fence.send(*put(b"b"))
    assert not fence.settle()
    assert len(sent) == TRIES
    assert connection.client.lrange("rxrec:l", 0, -1) == [b"a"]


def test_a_refusal_is_told_and_the_next_transaction_done(connection, fence):
    assert fence.send([wire(("SET", "rxrec:s", b"a")), wire(("RPUSH", "rxrec:h", b"a"))], 2)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        fence.settle()
    assert fence.send([wire(("NONSENSE",)), wire(("SET", "rxrec:s", b"b"))], 2)
    with pytest.raises(redis.ResponseError, match="unknown command"):
        fence.send(*put(b"c"))
    assert connection.client.get("rxrec:s") == b"a"  # what was not understood undoes the whole transaction
    assert fence.send(*put(b"d")) and fence.settle()
    assert connection.client.get("rxrec:s") == b"d"


def test_a_server_that_hung_up_gets_it_once_more(connection, fence):
    assert fence.send(*put(b"a")) and fence.settle()
    connection.client.client_kill_filter(_type="normal", skipme=True)
    assert fence.send(*put(b"b")) and fence.settle()
    assert connection.client.get("rxrec:s") == b"b"
    connection.client.client_kill_filter(_type="normal", skipme=True)
    connection.client.set(TOKEN, b"theirs")
    assert fence.send(*put(b"c")) and not fence.settle()
    assert connection.client.get("rxrec:s") == b"b"


def test_the_connection_that_is_put_back_watches_nothing(connection):
    connection.client.set(TOKEN, b"mine")
    with connection.fencing(TOKEN, b"mine") as fence:
        assert fence.send(*put(b"a"))  # and nobody settles it
    assert connection.client.get("rxrec:s") == b"a"
    connection.client.set(TOKEN, b"theirs")
    with connection.client.pipeline() as pipe:  # over one of the same connections
        assert pipe.set("rxrec:s", "b").execute() == [True]


def test_a_fenced_command_prolongs_the_token(connection):
    connection.client.set(TOKEN, b"mine", ex=5)
    assert connection.fenced(TOKEN, b"mine", 60, [("SET", "rxrec:s", "a")])
    assert connection.client.ttl(TOKEN) > 50
    assert not connection.fenced(TOKEN, b"theirs", 600, [("SET", "rxrec:s", "b")])
    assert connection.client.get("rxrec:s") == b"a" and connection.client.ttl(TOKEN) <= 60
