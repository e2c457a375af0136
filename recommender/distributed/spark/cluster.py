"""The address of a Spark cluster in, `Parts` on its executors out.

Between the steps of a night, a part is bytes in a column of binary pieces, each part a Spark partition, on the disks of
the executors; a step is `mapInArrow`, and Spark does it again where a machine was lost.
"""

from __future__ import annotations

import contextlib
import pickle
import re
import secrets
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark import Broadcast, StorageLevel
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession, functions

from recommender.distributed.parts import Parts, Shared, summed
from recommender.errors import EngineError, InputError, StoreCorrupt, StoreUnavailable, TrainingError

X = TypeVar("X")
U = TypeVar("U")
PIECE = 4 << 20  # bytes of a part in one row of Spark's
PIECES = 8  # rows that Spark holds in memory together
OURS: dict[str, Callable[[str], EngineError]] = {
    kind.__name__: kind for kind in (EngineError, InputError, StoreCorrupt, StoreUnavailable, TrainingError)
}
KEPT_LOADED = 4
FEW_PARTS = 16  # answers of more are first added up on executors
USUAL = {
    "spark.app.name": "rxrec nightly",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.caseSensitive": "true",
    "spark.sql.csv.parser.columnPruning.enabled": "false",  # it would not see that a record has too many fields
    "spark.sql.execution.arrow.maxBytesPerBatch": str(PIECES * PIECE),
    # which patient lies in which part: while that is small, rows need not be shuffled a second time to be told it
    "spark.sql.autoBroadcastJoinThreshold": "100m",
    "spark.rdd.compress": "true",
    "spark.io.encryption.enabled": "true",  # what executors put on their disks are charts
}


# only Arrow's batches go between Spark and us, which no version of pandas changes
warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)


def session(master: str, asked: Mapping[str, str]) -> SparkSession:
    """`master`: a URL as Spark has it (spark://host:7077, yarn, k8s://..., local[4]); `asked`: settings of Spark.

    Raises EngineError where Spark cannot be started: it needs Java 17.
    """
    builder = SparkSession.builder.master(master)
    for name, value in {**USUAL, **asked}.items():
        builder = builder.config(name, value)
    try:
        found = builder.getOrCreate()
    except (PySparkException, OSError, RuntimeError) as error:
        raise EngineError(f"Spark cannot be started ({error}): it needs Java 17 (JAVA_HOME)") from error
    # executors run this program: where it is elsewhere on their machines, spark.pyspark.python says so
    found.sparkContext.pythonExec = asked.get("spark.pyspark.python", sys.executable)
    return found


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """What a step of ours says of its input or the store, in our words; anything else of Spark as it is."""
    try:
        yield
    except Py4JError as error:
        raise EngineError("Spark's driver has died: give it more memory (spark.driver.memory)") from error
    except PySparkException as error:
        said = re.findall(r"^(?:recommender\.errors\.)?(\w+): (.*)$", str(error), re.MULTILINE)
        ours = [(name, words) for name, words in said if name in OURS]
        if not ours:
            raise EngineError(f"Spark gave up: {str(error).splitlines()[0]}: look into its log") from error
        name, words = ours[-1]
        raise OURS[name](words) from None


class Sent(Generic[U]):
    """A value that was broadcast, as bytes: PySpark cannot put an array's own buffer into an encrypted broadcast."""

    loaded: ClassVar[dict[str, Any]] = {}  # by a process, which works on one part after another: the latest few

    def __init__(self, broadcast: Broadcast[bytes]) -> None:
        self._broadcast, self._name = broadcast, secrets.token_hex(8)

    @classmethod
    def to_all(cls, spark: SparkSession, value: U) -> Sent[U]:
        return cls(spark.sparkContext.broadcast(pickle.dumps(value)))

    @property
    def value(self) -> U:
        if self._name not in self.loaded:
            while len(self.loaded) >= KEPT_LOADED:
                del self.loaded[next(iter(self.loaded))]
            self.loaded[self._name] = pickle.loads(self._broadcast.value)  # noqa: S301  (our own)
        value: U = self.loaded[self._name]
        return value


class SparkParts(Parts[X]):
    """`frame`: number, place, piece: the bytes of the part in each of its partitions."""

    def __init__(self, frame: DataFrame, n: int) -> None:
        self._frame, self._n = frame, n

    def share(self, value: U) -> Shared[U]:
        return Sent.to_all(self._frame.sparkSession, value)

    def then(self, step: Callable[[X], U]) -> SparkParts[U]:
        made = self._frame.mapInArrow(partial(_each, step), PIECES_SCHEMA)
        return SparkParts(made.persist(StorageLevel.DISK_ONLY), self._n)

    def ask(self, question: Callable[[X], U]) -> list[U]:
        return _collected(self._frame.mapInArrow(partial(_each, question), PIECES_SCHEMA))

    def total(self, question: Callable[[X], U | None]) -> U:
        answers = self._frame.mapInArrow(partial(_each, question), PIECES_SCHEMA)
        if self._n > FEW_PARTS:
            groups = int(np.ceil(np.sqrt(self._n)))
            grouped = answers.repartitionById(groups, functions.pmod(functions.col("number"), functions.lit(groups)))
            answers = grouped.sortWithinPartitions("number", "place").mapInArrow(_sum, PIECES_SCHEMA)
        total: U = summed(_collected(answers))
        return total

    def drop(self) -> None:
        self._frame.unpersist()

    @property
    def frame(self) -> DataFrame:
        return self._frame


PIECES_SCHEMA = "number int, place int, piece binary"
_PIECES = pa.schema([("number", pa.int32()), ("place", pa.int32()), ("piece", pa.binary())])


def _each(step: Callable[[X], U], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """What a step makes of the part of this task."""
    for number, part in values_in(batches):
        yield from in_pieces(number, step(part))


def _sum(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    total, first = None, -1
    for number, answer in values_in(batches):
        first = number if first < 0 else first
        if answer is not None:
            total = answer if total is None else total + answer
    if first >= 0:
        yield from in_pieces(first, total)


def in_pieces(number: int, value: Any) -> Iterator[pa.RecordBatch]:
    data = memoryview(pickle.dumps(value, protocol=5))
    for place, start in enumerate(range(0, len(data), PIECE)):
        piece = pa.array([data[start : start + PIECE]], pa.binary())
        yield pa.record_batch([pa.array([number], pa.int32()), pa.array([place], pa.int32()), piece], schema=_PIECES)


def values_in(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, Any]]:
    """The values whose pieces these are, one after another."""
    pieces: list[bytes] = []
    number = -1
    for batch in batches:
        columns = (batch.column(name).to_pylist() for name in ("number", "place", "piece"))
        for of, place, piece in zip(*columns, strict=True):
            if place == 0 and pieces:
                yield number, pickle.loads(b"".join(pieces))  # noqa: S301  (our own)
                pieces = []
            number = of
            pieces.append(piece)
    if pieces:
        yield number, pickle.loads(b"".join(pieces))  # noqa: S301  (our own)


def _collected(frame: DataFrame) -> list[Any]:
    """The values of all partitions, in their order."""
    rows = frame.collect()
    pieces: dict[int, dict[int, bytes]] = {}
    for row in rows:
        pieces.setdefault(row["number"], {})[row["place"]] = bytes(row["piece"])
    return [
        pickle.loads(b"".join(pieces[number][place] for place in sorted(pieces[number])))  # noqa: S301  (our own)
        for number in sorted(pieces)
    ]
