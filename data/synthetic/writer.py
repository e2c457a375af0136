"""In: a folder, a number of patients, a seed; out: the export's files, the same bytes whatever the number of processes.

Workers simulate and encode blocks; the parent writes them in order. At most two blocks a worker are under way, so
memory does not grow with the number of patients. All is written beside `out` and moved into place at the end.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from data.synthetic import fhir
from data.synthetic.block import BLOCK, simulate
from data.synthetic.export import Export
from data.synthetic.omop import omop
from recommender.errors import InputError

Format = Literal["csv", "parquet", "fhir", "omop"]  # Synthea's tables, FHIR R4 NDJSON, or OMOP CDM 5.4 as CSV
MARK = ".rxrec-sample"  # says that a folder holds a sample of ours and may be replaced
CSV_OPTIONS = pa.csv.WriteOptions(include_header=False, quoting_style="none")
Encoded = dict[str, tuple[int, bytes]]  # table -> rows, bytes


def write_hospital(
    out: Path,
    *,
    patients: int,
    seed: int = 0,
    fmt: Format = "csv",
    processes: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, int]:
    """Writes a synthetic hospital into the folder `out` and returns the rows of each table or type of resource.

    `progress(k)` is called with the number of patients newly finished. Raises InputError when `out` holds something
    else, or `patients` is below 1.
    """
    if patients < 1:
        raise InputError(f"a hospital needs at least one patient, not {patients}")
    _refuse_others(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        rows = _write(work, patients, seed, fmt, processes, progress)
        (work / MARK).write_text(f"patients={patients} seed={seed} format={fmt}\n", encoding="utf-8")
        work.chmod(0o755)
        if out.exists():
            _refuse_others(out)
            shutil.rmtree(out)
        work.rename(out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return rows


def _refuse_others(out: Path) -> None:
    if out.exists() and not (out.is_dir() and ((out / MARK).is_file() or not any(out.iterdir()))):
        raise InputError("is not empty and not a sample written by this program; choose another folder", file=str(out))


def _write(
    work: Path, patients: int, seed: int, fmt: Format, processes: int | None, progress: Callable[[int], None] | None
) -> dict[str, int]:
    sizes = [min(BLOCK, patients - start) for start in range(0, patients, BLOCK)]
    rows: dict[str, int] = {}
    sinks: dict[str, Any] = {}
    try:
        for number, encoded in enumerate(_blocks(seed, sizes, fmt, processes)):
            for name, (count, data) in encoded.items():
                rows[name] = rows.get(name, 0) + count
                _append(work, sinks, name, fmt, data)
            if progress:
                progress(sizes[number])
    finally:
        for sink in sinks.values():
            sink.close()
    if fmt == "fhir":
        (work / "manifest.json").write_bytes(fhir.manifest(rows))
    return rows


def _append(work: Path, sinks: dict[str, Any], name: str, fmt: Format, data: bytes) -> None:
    if fmt != "parquet":
        if name not in sinks:
            sinks[name] = _open(work / (fhir.file_name(name) if fmt == "fhir" else f"{name}.csv"))
        sinks[name].write(data)
        return
    table = pa.ipc.open_stream(data).read_all()
    if name not in sinks:
        sinks[name] = pa.parquet.ParquetWriter(work / f"{name}.parquet", table.schema, compression="zstd")
    sinks[name].write_table(table, row_group_size=max(table.num_rows, 1))


def _open(path: Path) -> IO[bytes]:
    return path.open("wb", buffering=1 << 20)


def _blocks(seed: int, sizes: list[int], fmt: Format, processes: int | None) -> Iterator[Encoded]:
    workers = min(processes or os.cpu_count() or 1, len(sizes))
    jobs = enumerate(sizes)
    if workers == 1:
        yield from (encode(seed, number, size, fmt) for number, size in jobs)
        return
    waiting: deque[Future[Encoded]] = deque()
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread) as pool:
        for number, size in jobs:
            waiting.append(pool.submit(encode, seed, number, size, fmt))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _one_thread() -> None:
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)


def encode(seed: int, number: int, size: int, fmt: Format) -> Encoded:
    """One block as bytes: CSV lines (with the header before block 0), NDJSON, or an Arrow stream. Runs in a worker."""
    found: Encoded = {}
    tables = Export(simulate(seed, number, size), seed).tables()
    if fmt == "fhir":
        return fhir.resources(tables, seed, number)
    for name, table in (omop(tables, number) if fmt == "omop" else tables).items():
        sink = pa.BufferOutputStream()
        if fmt != "parquet":
            if number == 0:
                sink.write((",".join(table.column_names) + "\n").encode())
            pa.csv.write_csv(table, sink, CSV_OPTIONS)
        else:
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
        found[name] = (table.num_rows, sink.getvalue().to_pybytes())
    return found


def is_sample(folder: str | Path) -> bool:
    """Whether `write_hospital` wrote this folder: its people are synthetic."""
    return (Path(folder) / MARK).is_file()
