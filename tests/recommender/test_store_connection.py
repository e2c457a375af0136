"""Commands sent together to a real server: their answers, refusals among them, and a server that hung up."""

import os

import pytest
import redis

from recommender.store_connection import Connection


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
