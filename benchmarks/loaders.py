"""`make bench-loaders`: exports of each format and size in; how fast they are read, and in how much memory, out.

Each way runs in a process of its own. Beside ours stands the least that anybody does with such a file: pandas.read_csv
of the medications with its defaults, and for FHIR `orjson.loads` of each line. Neither of them parses a time, resolves
an id, names a drug or finds a repeat. Absolute numbers move with the machine; the ratios are what to quote.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from exports import FORMATS

MIB = 1 << 20
LONGEST_FHIR = 5  # million: 15 would take over ten minutes
POLL_SECONDS = 0.02
PLAIN, FIRST, AGAIN = "plain", "first", "again"
WAYS = {PLAIN: "as a plain table", FIRST: "first run", AGAIN: "second run"}
RESULTS = Path(__file__).parent / "results" / "loaders.md"
HEADER = """| source | million rows | way | s | thousand rows/s | of plain | max RSS, MiB | of it anonymous |
|---|---:|---|---:|---:|---:|---:|---:|
"""


@dataclass(frozen=True)
class Measured:
    """`resident`, `anonymous`: the most at any time, in MiB, of the process and those that it started."""

    seconds: float
    resident: int
    anonymous: int


def measured(way: str, source: str, folder: Path, cache: Path) -> Measured:
    """What one way takes, in a process of its own; the time is without imports."""
    command = [sys.executable, __file__, "--measure", way, source, str(folder), str(cache)]
    resident = anonymous = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            now = [_memory(pid) for pid in (process.pid, *_children(process.pid))]
            resident = max(resident, sum(mine for mine, _ in now))
            anonymous = max(anonymous, sum(mine for _, mine in now))
            time.sleep(POLL_SECONDS)
        told = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"{way} of {source} failed")
    return Measured(json.loads(told), resident // MIB, anonymous // MIB)


def _memory(pid: int) -> tuple[int, int]:
    """Bytes resident, and bytes of them that no file backs."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        lines = (line.split() for line in status.splitlines())
        kib = {words[0]: int(words[1]) for words in lines if words[:1] in (["VmRSS:"], ["RssAnon:"])}
        return kib.get("VmRSS:", 0) << 10, kib.get("RssAnon:", 0) << 10
    return 0, 0


def _children(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            yield from map(int, (task / "children").read_text().split())


def measure(way: str, source: str, folder: Path, cache: Path) -> float:
    """The seconds that one way takes, here and now."""
    file = folder / FORMATS[source][1]
    if way != PLAIN:
        from recommender.loaders import load
        from recommender.loaders.tabular import rows_in_work
        from recommender.memory import READING
        from recommender.vocabulary import DrugVocabulary

        vocabulary, rows = DrugVocabulary.load(), rows_in_work(READING)
        began = time.perf_counter()
        load(source, folder, vocabulary=vocabulary, cache=cache, rows=rows)
    elif source == "fhir":
        import orjson

        began = time.perf_counter()
        with file.open("rb") as lines:
            for line in lines:
                orjson.loads(line)
    else:
        import pandas as pd

        began = time.perf_counter()
        pd.read_csv(file)
    return time.perf_counter() - began


def table(source: str, millions: int) -> Iterator[str]:
    """Lines of the table, for one source and size."""
    rows = millions * 1_000_000
    with tempfile.TemporaryDirectory(prefix="rxrec-bench-") as temporary:
        folder, cache = Path(temporary) / source, Path(temporary) / "cache"
        folder.mkdir()
        FORMATS[source][0](folder, rows)
        plain = 0.0
        for way, words in WAYS.items():
            found = measured(way, source, folder, cache)
            plain = plain or found.seconds
            speed = f"{found.seconds:.1f} | {rows / found.seconds / 1000:,.0f} | {plain / found.seconds:.2f}"
            yield f"| {source} | {millions} | {words} | {speed} | {found.resident:,} | {found.anonymous:,} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1], help="million medication rows")
    parser.add_argument("--sources", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}, too")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.measure:
        way, source, folder, cache = told.measure
        print(json.dumps(measure(way, source, Path(folder), Path(cache))))
        return
    print(HEADER, end="")
    lines = []
    for millions in told.sizes:
        for source in told.sources:
            if source == "fhir" and millions > LONGEST_FHIR:
                continue
            for line in table(source, millions):
                print(line, end="", flush=True)
                lines.append(line)
    if told.save:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(HEADER + "".join(lines))


if __name__ == "__main__":
    main()
