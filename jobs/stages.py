"""A folder and what a night is made from in, its stages done once each out: kept as files with hashes, told as events.

`runs/{version}/run.json` says of every finished stage what it was made from (`key`), its files with their SHA-256, and
what it cost. A killed run is taken up by `Run.resumed`: a stage whose key and files are as recorded is not done again.
A key covers the keys of all stages before, so whatever changed (the export, a setting, the program), everything after
it is done anew.

What a stage made lies in `stages/` only until the run has ended, encrypted where the run has a seal; hashes (of what
lies there) and costs stay, so that any past run can be explained.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from jobs.console import Console
from recommender import __version__
from recommender.errors import EngineError
from recommender.sealing import Place, Seal

T = TypeVar("T")
FORMAT = 3  # of run.json and of the files of the stages
PROGRESS_SECONDS = 1.0  # between two progress events of a stage
STATE = "run.json"


class Events:
    """A JSON line each, appended to a file at once, so that another program can follow a run; `None`: to nowhere."""

    def __init__(self, file: Path | None, run: str = "") -> None:
        self.run = run
        try:
            self._stream = None if file is None else file.open("a", encoding="utf-8")
        except OSError as error:
            raise EngineError(f"events cannot be written to {file}: {error.strerror}") from None

    def tell(self, event: str, **what: Any) -> None:
        if self._stream is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with contextlib.suppress(OSError):  # a full disk must not end a night that only wants to speak of itself
            self._stream.write(json.dumps({"time": now, "run": self.run, "event": event, **what}) + "\n")
            self._stream.flush()

    def progress(self, stage: str, total: int | None, unit: str) -> Callable[[int], None]:
        """To be told how many more are done; tells how many in all, how many a second and the seconds left."""
        begun = told = time.monotonic()
        done = 0

        def more(count: int) -> None:
            nonlocal done, told
            done += count
            now = time.monotonic()
            if now - told >= PROGRESS_SECONDS or done == total:
                told = now
                rate = done / max(now - begun, 1e-9)
                left = None if total is None else round((total - done) / max(rate, 1e-9), 1)
                self.tell("progress", stage=stage, done=done, total=total, unit=unit, rate=round(rate, 1), left_s=left)

        return more

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


@dataclass(frozen=True)
class Telling(Console):
    """A console whose progress is also told as events."""

    events: Events

    @contextlib.contextmanager
    def progress(self, label: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        with super().progress(label, total, unit) as bar:
            tell = self.events.progress(label, total, unit)
            yield lambda done: (bar(done), tell(done))[0]


@dataclass(frozen=True)
class Form(Generic[T]):
    """How a stage's value becomes files of a folder, and comes back from them. `mapped`: then it is the files, where
    they are not sealed, and needs next to no memory, so that what was made is given up for it."""

    save: Callable[[T, Place], None]
    load: Callable[[Place], T]
    mapped: bool = False


class Kept(Generic[T]):
    """What a stage made; of a stage that was done in an earlier try, it is read when it is first asked for."""

    def __init__(self, load: Callable[[], T]) -> None:
        self._load: Callable[[], T] | None = load
        self._value: T | None = None

    @property
    def value(self) -> T:
        if self._load is not None:
            self._value, self._load = self._load(), None
        return self._value  # type: ignore[return-value]

    def give_up(self) -> None:
        """It will not be asked for any more."""
        self._load, self._value = None, None


@dataclass
class Run:
    """One run, held by a lock that the kernel drops with the process, so that a dead run is known to be dead."""

    folder: Path
    state: dict[str, Any]
    events: Events
    _lock: IO[bytes]
    seal: Seal | None = None
    _keys: list[str] = field(default_factory=list)

    @classmethod
    def begun(cls, folder: Path, asked: str, events: Events, seal: Seal | None = None) -> Run:
        """A new run named as its folder. `asked`: a digest of what it was asked to do, to find it again by."""
        folder.mkdir(parents=True, mode=0o700)
        lock = _locked(folder)
        if lock is None:  # nobody else knows the name
            raise EngineError(f"{folder} is in use")
        created = datetime.now(UTC).isoformat(timespec="seconds")
        run = cls(folder, {"format": FORMAT, "created": created, "asked": asked, "stages": {}}, events, lock, seal)
        try:
            run._write()
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def resumed(cls, runs: Path, asked: str, events: Events, seal: Seal | None = None) -> Run | None:
        """The latest run that was asked to do the same, did not end, and of which nobody is at work; None if there is
        none."""
        for file in sorted(runs.glob(f"*/{STATE}"), reverse=True):
            state = _state(file)
            if state is None or state["asked"] != asked or "ended" in state:
                continue
            lock = _locked(file.parent)
            if lock is None:
                raise EngineError(f"run {file.parent.name} is still at work: wait for it, or stop it first")
            return cls(file.parent, state, events, lock, seal)
        return None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def created(self) -> str:
        return str(self.state["created"])

    @property
    def place(self) -> Place:
        """Its folder, as its files are to be written there."""
        return Place(self.folder, self.seal)

    def stage(self, name: str, made_from: Mapping[str, Any], make: Callable[[], T], form: Form[T]) -> Kept[T]:
        """What `make` gives, done and kept as files once. `made_from`: the settings that this stage depends on, beside
        all stages before."""
        how = "sealed" if self.seal else ""  # what lies there in clear does not stay once it is to be encrypted
        told = json.dumps([FORMAT, __version__, name, dict(made_from), self._keys, how], sort_keys=True)
        key = hashlib.sha256(told.encode()).hexdigest()
        self._keys.append(key)
        files = self.folder / "stages" / name
        place = Place(files, self.seal)
        done = self.state["stages"].get(name)
        if done and done["key"] == key and _hashes(files) == done["files"]:
            self.events.tell("stage", stage=name, state="kept")
            return Kept(lambda: form.load(place))
        for later in [name, *list(self.state["stages"])[len(self._keys) - 1 :]]:
            self.state["stages"].pop(later, None)
        shutil.rmtree(files, ignore_errors=True)
        with self.timed(name) as cost:
            value = make()
            _saved(form.save, value, place)
        self.state["stages"][name] = {"key": key, "files": _hashes(files), **cost}
        self._write()
        return Kept(lambda: form.load(place)) if form.mapped and self.seal is None else Kept(lambda: value)

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[dict[str, Any]]:
        """Tell that a stage begins, and how it ends; what it cost stands in the dictionary afterwards."""
        self.events.tell("stage", stage=name, state="begun")
        _begin_peak()
        began = time.perf_counter()
        cost: dict[str, Any] = {}
        try:
            yield cost
        except BaseException as error:
            self.events.tell("stage", stage=name, state="failed", error=type(error).__name__)
            raise
        cost["seconds"] = round(time.perf_counter() - began, 3)
        cost["peak_mib"] = _peak_mib()
        self.events.tell("stage", stage=name, state="done", **cost)

    def costs(self) -> dict[str, float]:
        """Seconds of each stage; of one that was kept, those of the try that did it."""
        return {name: done["seconds"] for name, done in self.state["stages"].items()}

    def add(self, name: str, cost: Mapping[str, Any]) -> None:
        """Put a stage without files on record."""
        self.state["stages"][name] = {"key": "", "files": {}, **cost}
        self._write()

    def note(self, name: str, what: str) -> None:
        """Put a word beside the stages; an empty one takes it away, where an earlier try had put it."""
        self.state.pop(name, None)
        if what:
            self.state[name] = what
        self._write()

    def end(self, how: str) -> None:
        """It cannot be resumed from now on. What its stages made is removed, and what dead runs left behind."""
        self.state["ended"] = how
        self._write()
        for stages in self.folder.parent.glob("*/stages"):
            mine = stages.parent == self.folder
            lock = self._lock if mine else _locked(stages.parent)
            if lock is not None:
                shutil.rmtree(stages, ignore_errors=True)
                if not mine:
                    lock.close()

    def close(self) -> None:
        if "ended" in self.state:  # nobody takes it up any more
            (self.folder / "lock").unlink(missing_ok=True)
        self._lock.close()

    def _write(self) -> None:
        """All of it or none: a run that is killed here has the state before."""
        new = self.folder / f"{STATE}.new"
        try:
            with new.open("w") as file:
                json.dump(self.state, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.folder / STATE)
        except OSError as error:
            raise _no_room(self.folder, error) from None


def fingerprint(path: Path) -> list[list[Any]]:
    """Name, size and time of change of every file of an export; [] for what is no file or folder (a database)."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] if path.is_file() else []
    return [[str(f.relative_to(path)), f.stat().st_size, f.stat().st_mtime_ns] for f in files]


def sha256_of(file: Path) -> str:
    """ "" where there is no such file."""
    if not file.is_file():
        return ""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _begin_peak() -> None:
    """Where the kernel lets us, the peak of memory is that of the stage, and not of all before."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mib() -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) >> 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _hashes(folder: Path) -> dict[str, str]:
    return {f.relative_to(folder).as_posix(): sha256_of(f) for f in sorted(folder.rglob("*")) if f.is_file()}


def _saved(save: Callable[[T, Place], None], value: T, place: Place) -> None:
    try:
        place.path.mkdir(parents=True)
        save(value, place)
    except OSError as error:
        raise _no_room(place.path, error) from None


def _no_room(where: Path, error: OSError) -> EngineError:
    return EngineError(f"the run cannot be kept in {where}: {error.strerror}: free room there, then run with --resume")


def _state(file: Path) -> dict[str, Any] | None:
    try:
        state = json.loads(file.read_text())
        return state if state["format"] == FORMAT and isinstance(state["stages"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):  # not ours, or of another program version
        return None


def _locked(folder: Path) -> IO[bytes] | None:
    lock = (folder / "lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock
