"""Running processes in; out, by stage: the processor seconds and the peak memory of them and of all that they started.

From /proc, so on Linux only. Memory is the proportional set size: what several processes share is counted once.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
EVERY, WEIGHED_EVERY = 0.25, 2.0  # seconds; to weigh a process of gigabytes takes some 50 ms of its own
ELSE = "start and end"  # the stage of what lies between the stages


@dataclass
class Cost:
    """cpu: seconds by group of processes; peak: MiB by group, and `together`, which is the peak of the sum."""

    cpu: dict[str, float] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)
    together: float = 0.0


@dataclass
class Watch:
    """stages: what each cost. disk: the most MiB that the folders held. missed: times nothing could be read."""

    group_of: Callable[[list[str], str], str]
    roots: Mapping[int, str]  # process id -> its group, where `group_of` of what it started does not say another
    events: Path
    folders: tuple[Path, ...]
    tell: Callable[[str], None] = print  # of each stage, as soon as it is seen
    stages: dict[str, Cost] = field(default_factory=dict)
    disk: float = 0.0
    missed: int = 0
    _cpu: dict[tuple[int, int], int] = field(default_factory=dict)  # (process, when it began) -> ticks
    _groups: dict[tuple[int, int], str] = field(default_factory=dict)

    def total(self) -> Cost:
        """Of all stages."""
        whole = Cost(together=max((cost.together for cost in self.stages.values()), default=0.0))
        for cost in self.stages.values():
            for group, seconds in cost.cpu.items():
                whole.cpu[group] = whole.cpu.get(group, 0.0) + seconds
            for group, mib in cost.peak.items():
                whole.peak[group] = max(whole.peak.get(group, 0.0), mib)
        return whole

    def look(self, weigh: bool) -> None:
        stage = _stage(self.events)
        if stage not in self.stages:
            self.stages[stage] = Cost()
            self.tell(stage)
        cost = self.stages[stage]
        held: dict[str, float] = {}
        for pid, began, ticks, group in self._processes():
            more = ticks - self._cpu.get((pid, began), 0)
            self._cpu[pid, began] = ticks
            cost.cpu[group] = cost.cpu.get(group, 0.0) + more / TICK
            if weigh:
                held[group] = held.get(group, 0.0) + _mib(pid)
        for group, mib in held.items():
            cost.peak[group] = max(cost.peak.get(group, 0.0), mib)
        cost.together = max(cost.together, sum(held.values()))
        if weigh:
            self.disk = max(self.disk, sum(map(_held, self.folders)))

    def _processes(self) -> Iterator[tuple[int, int, int, str]]:
        """Process, when it began, its ticks so far, its group: of the roots and of all below them."""
        found = {pid: stat for pid in _pids() if (stat := _stat(pid))}
        below: dict[int, list[int]] = {}
        for pid, (parent, *_) in found.items():
            below.setdefault(parent, []).append(pid)
        waiting = [(pid, group) for pid, group in self.roots.items() if pid in found]
        while waiting:
            pid, of_parent = waiting.pop()
            _, began, ticks, name = found[pid]
            if self._groups.get((pid, began)) is None:
                self._groups[pid, began] = self.group_of(_words(pid), name) or of_parent
            group = self._groups[pid, began]
            yield pid, began, ticks, group
            waiting += [(child, group) for child in below.get(pid, []) if child not in self.roots]


@contextlib.contextmanager
def watching(watch: Watch) -> Iterator[Watch]:
    """In the background, until the end; a look that fails is counted, and ends nothing."""
    over = threading.Event()

    def run() -> None:
        weighed = 0.0
        while not over.wait(EVERY):
            try:
                weigh = time.monotonic() - weighed > WEIGHED_EVERY
                watch.look(weigh)
                weighed = time.monotonic() if weigh else weighed
            except Exception:
                watch.missed += 1

    thread = threading.Thread(target=run, daemon=True)
    with contextlib.suppress(Exception):
        watch.look(weigh=False)
    for cost in watch.stages.values():
        cost.cpu.clear()  # what was used before is not counted
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()


def _stage(events: Path) -> str:
    """The stage that `--events` says is being done."""
    lines = events.read_text().splitlines() if events.exists() else []
    for line in reversed(lines):
        with contextlib.suppress(ValueError):
            told = json.loads(line)
            if told["event"] == "stage":
                return str(told["stage"]) if told["state"] == "begun" else ELSE
    return ELSE


def _pids() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())  # noqa: PTH208  (names of processes)


def _stat(pid: int) -> tuple[int, int, int, str] | None:
    """Parent, when it began (ticks), user and system ticks of its own, name."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        head, _, tail = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        rest = tail.split()
        return int(rest[1]), int(rest[19]), int(rest[11]) + int(rest[12]), head.partition("(")[2]
    return None


def _words(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return []


def _mib(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _held(folder: Path) -> float:
    """MiB on disk; files come and go meanwhile."""
    held = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                held += os.stat(f"{where}/{name}").st_blocks * 512  # noqa: PTH116  (many files, often)
    return held / 2**20
