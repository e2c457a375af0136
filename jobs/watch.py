"""`rxrec watch`: readings that stream in, in; charts brought up to date and events out, until it is stopped."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from typing import Any

import click
import orjson

from jobs.console import Console
from recommender.access import SiteSecret
from recommender.errors import EngineError, NothingPublished, RulesMissing, StoreUnavailable, UnknownVersion
from recommender.safety.indications import Indications
from recommender.safety.screen import Screen
from recommender.settings import Settings
from recommender.store import Store, open_store
from recommender.stream import Events, Place, Readings
from recommender.watching.watcher import Watcher
from recommender.watching.webhook import Sender, receiver

REST_SECONDS = 1.0  # between attempts while Redis or a version is missing, and between looks at what is to be delivered


@click.command()
@click.option("--name", default="", help="This consumer's name; its host and process if left out.")
@click.option("--once", is_flag=True, help="Deal with what waits, deliver what is due, and end.")
@click.pass_obj
def watch(console: Console, name: str, once: bool) -> None:
    """Follow the readings that are sent to /v1/observations, and tell what changes.

    Brings the charts of the patients up to date, looks at the safety rules and thresholds anew, and raises an event for
    what has changed: for pages that are open, for /v1/events and, where RXREC_WEBHOOK is set, for that address. Several
    may run beside each other, and one that is killed loses nothing. See docs/monitoring-readings.md.
    """
    settings = console.settings
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with open_store(settings) as store:
        place = _place(settings, store)
        _warn_of_loss(console, place)
        screen = _screen(settings)
        readings = Readings(place)
        watcher = Watcher(
            store,
            readings,
            screen,
            Indications.load(vocabulary=screen.vocabulary, conditions=screen.conditions),
            name or f"{socket.gethostname()}-{os.getpid()}",
            quiet_minutes=settings.quiet_minutes,
            deliver=bool(settings.webhook),
            troubled=lambda error: _say("trouble", what=type(error).__name__),
        )
        sender = None
        if settings.webhook:
            secret = SiteSecret.load(settings.secret_file)
            sender = Sender(
                Events(place), receiver(settings.webhook, secret), lambda why: _say("undelivered", what=why)
            )
        if once:
            watcher.begin()
            while watcher.turn(block_ms=None):
                pass
            while sender and sender.turn():
                pass
        else:
            stop = threading.Event()
            sending = threading.Thread(target=_send, args=(sender, stop), name="webhook")
            sending.start()
            try:
                console.say("watching (Ctrl-C stops)")
                _watch(console, watcher)
            except KeyboardInterrupt:
                console.say("stopping ...")
            finally:
                stop.set()
                sending.join()
        counts = watcher.counts
        told: dict[str, Any] = {"observations": counts.observations, "of_unknown_patients": counts.unknown}
        told |= {"events": counts.events, "buried": counts.buried, **readings.counts()}
        console.result(
            told,
            f"{counts.observations:,} readings dealt with, {counts.events:,} events; {told['waiting']:,} still wait, "
            f"{told['dead']:,} could not be dealt with",
        )


@click.group()
def events() -> None:
    """What was told of monitored patients, and what could not be delivered."""


@events.command("status")
@click.pass_obj
def status(console: Console) -> None:
    """How many readings wait, and how many events are kept, due and undelivered; no patient is named."""
    with open_store(console.settings) as store:
        place = _place(console.settings, store)
        told = {**Readings(place).counts(), **Events(place).counts()}
        dead = [
            {"id": one.event.id, "rule": one.event.alarm.rule, "tries": one.tries}
            for one in Events(place).undelivered()
        ]
    lines = [f"{count:>9,} {name}" for name, count in told.items()]
    lines += [f"undelivered {one['id']} {one['rule']}, tried {one['tries']} times" for one in dead]
    console.result({**told, "undelivered_events": dead}, "\n".join(lines))


@events.command("replay")
@click.option("--readings", is_flag=True, help="Also the readings that could not be dealt with.")
@click.option("--id", "ids", multiple=True, help="An event's id (see `status`); all that were given up if left out.")
@click.pass_obj
def replay(console: Console, readings: bool, ids: tuple[str, ...]) -> None:
    """Deliver again what was given up: once the receiver is mended."""
    with open_store(console.settings) as store:
        place = _place(console.settings, store)
        told = {"events": Events(place).replay(ids), "readings": Readings(place).unbury() if readings else 0}
    console.result(told, f"{told['events']:,} events and {told['readings']:,} readings are tried again")


@events.command("key")
@click.pass_obj
def key(console: Console) -> None:
    """The key that webhooks are signed with (Standard Webhooks), for the receiver. Keep it secret."""
    settings = console.settings
    if not settings.webhook:
        raise EngineError("set RXREC_WEBHOOK to the address of the receiver first (docs/monitoring-readings.md)")
    to = receiver(settings.webhook, SiteSecret.load(settings.secret_file))
    console.result({"url": to.url, "secret": to.secret}, to.secret)


def _place(settings: Settings, store: Store) -> Place:
    return Place(store.url, settings.key_prefix, settings.secret_file)


def _screen(settings: Settings) -> Screen:
    try:
        return Screen.load(settings.rules, settings.vocabulary)
    except EngineError as error:
        raise RulesMissing(str(error)) from error


def _watch(console: Console, watcher: Watcher) -> None:
    """Until Ctrl-C; through times in which Redis or a version is missing."""
    begun, said = False, ""
    while True:
        try:
            if not begun:
                watcher.begin()
                begun = True
            watcher.turn()
            said = ""
        except (StoreUnavailable, NothingPublished, UnknownVersion) as error:
            if str(error) != said:
                console.say(str(error))
            begun, said = False, str(error)
            time.sleep(REST_SECONDS)


def _send(sender: Sender | None, stop: threading.Event) -> None:
    while sender is not None and not stop.is_set():
        try:
            if sender.turn():
                continue
        except EngineError as error:
            _say("undelivered", what=type(error).__name__)
        stop.wait(REST_SECONDS)


def _warn_of_loss(console: Console, place: Place) -> None:
    """An accepted reading is as safe as Redis keeps it."""
    if not place.is_kept():
        console.say(
            "this Redis server keeps nothing of the last moments when it crashes: set `appendonly yes` in its "
            "configuration, so that no accepted reading is lost"
        )


def _say(event: str, **told: str) -> None:
    """A line of the log: never of a patient."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(orjson.dumps({"time": stamp, "event": event, **told}).decode(), file=sys.stderr, flush=True)  # noqa: T201
