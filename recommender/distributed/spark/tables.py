"""An export where Spark can read it in, everybody's rows in parts out, each patient's together.

Tables are CSV, Parquet or NDJSON files, at any address that Spark has a connector for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import StorageLevel, TaskContext
from pyspark.sql import Column, DataFrame, SparkSession, functions, types

from recommender.distributed.reading import PATIENT, PEOPLE, Gathered, Rows, gather, is_of_patients, tables_of
from recommender.distributed.spark.cluster import PIECES, PIECES_SCHEMA, Sent, SparkParts, in_pieces
from recommender.errors import InputError
from recommender.loaders import files
from recommender.loaders.tabular import TableSpec
from recommender.vocabulary import DrugVocabulary

PATIENTS_A_PART = 5_000
FORMATS = {"csv": "csv", "csv.gz": "csv", "parquet": "parquet", "ndjson": "json", "ndjson.gz": "json"}
NAMED = r"{name}([.-](part-?)?\d[\dtz_.:-]*?)?\.(csv|csv\.gz|parquet|ndjson|ndjson\.gz)|{name}"
MALFORMED = "_malformed"
BLANKS = " \t\r\n\x0b\x0c\xa0"


@dataclass(frozen=True)
class _Table:
    """A table of the export. rows: a text column c0, c1 ... for each of `ours`, and where each row stands; names: what
    the files call ours."""

    spec: TableSpec
    file: str
    ours: tuple[str, ...]
    names: Mapping[str, str]
    rows: DataFrame


@dataclass(frozen=True)
class Gathering:
    """`lookups`: names of the files of which each part has all rows."""

    parts: SparkParts[Gathered]
    lookups: frozenset[str]


def read(
    spark: SparkSession,
    source: str,
    path: str,
    specs: Mapping[str, TableSpec],
    vocabulary: DrugVocabulary | None,
    n_parts: int = 0,
) -> Gathering:
    """The export in the folder `path`, each patient's rows in one of the parts, in the order of the patients' file.

    n_parts: 0 for one of PATIENTS_A_PART patients each. Raises InputError.
    """
    folder, listed = _listed(spark, source, path)
    tables = [
        _table(spark, spec, folder, found)
        for spec in tables_of(source, specs)
        if (found := _found(spark, folder, spec, listed, path))
    ]
    people = next((table for table in tables if table.spec.name == specs.get(PEOPLE, _people(source)).name), None)
    if people is None:
        raise InputError("a table of patients is needed to read an export in parts", file=path)
    if source == "csv" and (undated := [t.file for t in tables if t is not people and "start" not in t.ours]):
        raise InputError("an export is read in parts only if its events have a start", file=undated[0])
    of_patients = [table for table in tables if is_of_patients(table.spec)]
    who = _who(people)
    n = n_parts or max(spark.sparkContext.defaultParallelism, -(-who.count() // PATIENTS_A_PART))
    ids = who.repartitionByRange(n, "at").select("patient", functions.spark_partition_id().alias("part"))
    ids = ids.persist(StorageLevel.MEMORY_AND_DISK)
    ids.count()  # as many rows of it as Spark likes lie together; of parts, few
    spark.conf.set("spark.sql.inMemoryColumnarStorage.batchSize", str(PIECES))
    rows = _all(of_patients).join(ids, "patient", "left")
    number = functions.coalesce(
        functions.col("part"), functions.pmod(functions.col("row"), functions.lit(n)).cast("int")
    )  # events of nobody are dealt out
    # of each row, what it is found by stays behind as soon as it has been used
    dealt = rows.select(number.alias("number"), *rows.drop("patient", "part").columns)
    placed = dealt.repartitionById(n, "number").sortWithinPartitions("table", "file", "block", "row")
    together = placed.drop("number", "file", "block", "row")
    shared = Sent.to_all(
        spark,
        (
            source,
            [(table.spec.name, table.file, table.ours, dict(table.names)) for table in of_patients],
            {t.spec.name: _whole(t) for t in tables if not is_of_patients(t.spec)},
            dict(specs),
            vocabulary,
        ),
    )
    gathered = together.mapInArrow(partial(_gather, shared), PIECES_SCHEMA).persist(StorageLevel.DISK_ONLY)
    lookups = frozenset(table.file for table in tables if not is_of_patients(table.spec))
    return Gathering(SparkParts(gathered, n), lookups)


def _people(source: str) -> TableSpec:
    return next(spec for spec in tables_of(source, {}) if spec.name == PEOPLE)


def _listed(spark: SparkSession, source: str, path: str) -> tuple[str, list[str]]:
    """The folder of the tables and the names in it."""
    names = _names(spark, path)
    if source == "mimic" and "hosp" in names:
        path = f"{path.rstrip('/')}/hosp"
        names = _names(spark, path)
    return path.rstrip("/"), names


def _names(spark: SparkSession, path: str) -> list[str]:
    jvm: Any = spark.sparkContext._jvm
    try:
        folder = jvm.org.apache.hadoop.fs.Path(path)
        system = folder.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration())
        return sorted(status.getPath().getName() for status in system.listStatus(folder))
    except Exception as error:  # noqa: BLE001  (py4j: whatever the connector of this address throws)
        said = str(getattr(error, "java_exception", error)).splitlines()[0]
        raise InputError(f"the folder cannot be read by Spark: {said}", file=path) from None


def _found(spark: SparkSession, folder: str, spec: TableSpec, listed: list[str], path: str) -> list[str]:
    named = re.compile(NAMED.format(name=re.escape(spec.name)), re.IGNORECASE)
    found = [name for name in listed if named.fullmatch(name)]
    if not found and not spec.optional:
        raise InputError(f"a table is missing: expected one of {spec.name}.csv, .parquet or .ndjson", file=path)
    return found


def _table(spark: SparkSession, spec: TableSpec, folder: str, found: list[str]) -> _Table:
    file = found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"
    kinds = {_format(spark, folder, name) for name in found}
    if len(kinds) > 1:
        raise InputError("its files are of several formats: keep those of one", file=file)
    kind = kinds.pop()
    paths = [f"{folder}/{name}" for name in found]
    frame = _READERS[kind](spark, paths)
    several = len(frame.inputFiles()) > 1
    columns = [name for name in frame.columns if name != MALFORMED]
    position = files.positions(columns, file, spec.wanted, spec.required)
    types = dict(frame.dtypes)
    names = {ours: columns[at] for ours, at in position.items()}
    texts = [_text(functions.col(f"`{name}`"), types[name]) for name in names.values()]
    malformed = functions.col(MALFORMED).isNotNull() if MALFORMED in frame.columns else functions.lit(False)
    rows = frame.select(
        *[text.alias(f"c{place}") for place, text in enumerate(texts)],
        malformed.alias("bad"),
        # a path is long, and with one file there is nothing to put in order
        (functions.col("_metadata.file_path") if several else functions.lit("")).alias("file"),
        functions.col("_metadata.file_block_start").alias("block"),
        functions.monotonically_increasing_id().alias("row"),
    )
    return _Table(spec, file, tuple(names), names, rows)


def _format(spark: SparkSession, folder: str, name: str) -> str:
    lower = name.lower()
    for suffix, kind in FORMATS.items():
        if lower.endswith(f".{suffix}"):
            return kind
    inside = [one for one in _names(spark, f"{folder}/{name}") if one[0] not in "_."]
    if not inside:
        raise InputError("this is a folder without a table in it, but a file is needed", file=name)
    return _format(spark, f"{folder}/{name}", inside[0])


def _csv(spark: SparkSession, paths: list[str]) -> DataFrame:
    options: dict[str, Any] = {"header": True, "multiLine": True, "quote": '"', "escape": '"'}
    header = spark.read.options(**options).csv(paths[0]).columns
    schema = types.StructType([types.StructField(name, types.StringType()) for name in [*header, MALFORMED]])
    # every file must have this header: enforceSchema would read its columns by their place
    options |= {"enforceSchema": False, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": MALFORMED}
    frame = spark.read.schema(schema).options(**options).csv(paths)
    missing = list(files.MISSING)
    texts = [
        functions.when(~functions.col(f"`{name}`").isin(missing), functions.col(f"`{name}`")).alias(name)
        for name in header
    ]
    return frame.select(*texts, MALFORMED, "_metadata")


def _parquet(spark: SparkSession, paths: list[str]) -> DataFrame:
    frame = spark.read.parquet(*paths)
    return frame.select(*[f"`{name}`" for name in frame.columns], "_metadata")


def _json(spark: SparkSession, paths: list[str]) -> DataFrame:
    frame = spark.read.options(primitivesAsString=True, columnNameOfCorruptRecord=MALFORMED).json(paths)
    return frame.select(*[f"`{name}`" for name in frame.columns], "_metadata")


_READERS = {"csv": _csv, "parquet": _parquet, "json": _json}


def _text(column: Column, dtype: str) -> Column:
    """A typed column as the text that a CSV file would have of it."""
    if dtype.startswith("timestamp"):
        return functions.date_format(column, "yyyy-MM-dd HH:mm:ss")
    if dtype in ("float", "double"):
        number = column.cast("double")  # whole-numbered ids that pandas once held beside a missing one
        whole = (number == functions.floor(number)) & (functions.abs(number) < 2**53)
        return functions.when(whole, number.cast("bigint").cast("string")).otherwise(number.cast("string"))
    return column.cast("string")


def _patient(table: _Table) -> Column:
    text = functions.btrim(functions.col(f"c{table.ours.index(PATIENT)}"), functions.lit(BLANKS))
    return functions.when(text != "", text)


def _who(people: _Table) -> DataFrame:
    """patient: each id once; at: where it stands first."""
    at = functions.struct("file", "block", "row")
    ids = people.rows.where(~functions.col("bad")).select(_patient(people).alias("patient"), at.alias("at"))
    return ids.where(functions.col("patient").isNotNull()).groupBy("patient").agg(functions.min("at").alias("at"))


def _all(tables: list[_Table]) -> DataFrame:
    """The rows of all tables, under one header."""
    width = max(len(table.ours) for table in tables)
    frames = []
    for number, table in enumerate(tables):
        texts = [functions.col(f"c{place}") for place in range(len(table.ours))]
        nothing = [functions.lit(None).cast("string").alias(f"c{place}") for place in range(len(table.ours), width)]
        told = (functions.lit(number).alias("table"), _patient(table).alias("patient"), "file", "block", "row", "bad")
        frames.append(table.rows.select(*told, *texts, *nothing))
    whole = frames[0]
    for frame in frames[1:]:
        whole = whole.unionAll(frame)
    return whole


def _whole(table: _Table) -> Rows:
    """All rows of a table to look things up in."""
    found = table.rows.orderBy("file", "block", "row").toArrow()
    return _rows(table.file, table.ours, table.names, found)


def _rows(file: str, ours: Iterable[str], names: Mapping[str, str], found: pa.Table) -> Rows:
    columns = {name: found.column(f"c{place}").cast(pa.string()).combine_chunks() for place, name in enumerate(ours)}
    return Rows(file, columns, dict(names), found.column("bad").to_numpy().astype(bool))


def _gather(shared: Any, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    source, declared, lookups, specs, vocabulary = shared.value
    context = TaskContext.get()
    assert context is not None  # noqa: S101  (for the type checker)
    found: dict[int, list[pa.RecordBatch]] = {}
    schema: pa.Schema | None = None
    for batch in batches:
        schema = batch.schema
        numbers = batch.column("table").to_numpy()
        cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        for start, end in pairwise(cuts):
            if end > start:
                found.setdefault(int(numbers[start]), []).append(batch.slice(start, end - start))
    if schema is None:
        width = max(len(ours) for _, _, ours, _ in declared)
        schema = pa.schema([*((f"c{place}", pa.string()) for place in range(width)), ("bad", pa.bool_())])
    tables = dict(lookups)
    for number, (name, file, ours, names) in enumerate(declared):
        tables[name] = _rows(file, ours, names, pa.Table.from_batches(found.pop(number, []), schema))
    yield from in_pieces(context.partitionId(), gather(context.partitionId(), source, tables, specs, vocabulary))
