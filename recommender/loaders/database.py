"""A database URL in, an export whose tables are read from the database out: in chunks, and without changing anything.

Any database that SQLAlchemy 2 knows; `?schema=cdm` names the schema. All tables are read in one transaction, so they
are of one moment. A password never gets into a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from recommender.errors import InputError
from recommender.ingest_log import IngestLog
from recommender.loaders import files
from recommender.loaders.csv_rows import UNDECODABLE
from recommender.loaders.tabular import Export, Progress, TableSpec
from recommender.vocabulary import DrugVocabulary

if TYPE_CHECKING:  # an extra that only sites with a database install
    from sqlalchemy import URL, Connection

CHUNK_ROWS = 1 << 16
URL_SHAPE = re.compile(r"[A-Za-z][A-Za-z0-9_+.-]*://")
# All tables as they were at one moment, and no writing, as far as the database can promise it
READ_ONLY: dict[str, dict[str, Any]] = {
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}


def is_url(path: str) -> bool:
    return URL_SHAPE.match(path) is not None


@contextmanager
def connected(
    url: str, log: IngestLog, progress: Progress | None, vocabulary: DrugVocabulary | None
) -> Iterator[Export]:
    """The database as an `Export`. Raises InputError when it cannot be reached or read."""
    try:
        import sqlalchemy as sa
    except ImportError:
        message = "to read a database, install what it needs: pip install 'rxrec[database]'"
        raise InputError(message) from None
    try:
        address = sa.make_url(url)
        schema = address.query.get("schema")
        address = _never_created(address.difference_update_query(["schema"]))
        engine = sa.create_engine(address, poolclass=sa.NullPool)
    except (sa.exc.ArgumentError, ImportError, ValueError, TypeError):
        message = "no database URL that can be used: it looks like postgresql+psycopg://user:password@host/name"
        raise InputError(f"{message}, and its driver must be installed") from None
    name = address.render_as_string(hide_password=True).partition("?")[0]
    try:
        with engine.connect().execution_options(**READ_ONLY.get(engine.dialect.name, {})) as connection:
            opener = _Tables(connection, schema if isinstance(schema, str) else None, name)
            yield Export(Path(name), log, progress, vocabulary, opener)
            connection.rollback()
    except (sa.exc.SQLAlchemyError, UnicodeError) as error:
        raise InputError(f"the database cannot be read: {_why(error, address)}", file=name) from None
    finally:
        engine.dispose()


def _never_created(address: URL) -> URL:
    """SQLite makes the database that it does not find, unless it is opened for reading only."""
    if address.get_backend_name() != "sqlite":
        return address
    if not address.database or address.database == ":memory:" or address.query:
        raise InputError("an SQLite URL names the file and no options: sqlite:////folder/cdm.db")
    return address.set(database=f"file:{quote(address.database)}").update_query_dict({"mode": "ro", "uri": "true"})


def _why(error: Exception, address: URL) -> str:
    """What the server says of a connection; nothing of what it says of data, which may quote a patient's."""
    import sqlalchemy as sa

    said = type(getattr(error, "orig", None) or error).__name__
    if isinstance(error, sa.exc.OperationalError) and error.statement is None:
        said += ": " + " ".join(str(error.orig).split())
    for password in (address.password, address.query.get("password")):
        for secret in {str(password or ""), quote(str(password or ""), safe="")} - {""}:
            said = said.replace(secret, "***")
    return said


@dataclass(frozen=True)
class _Tables:
    """An `Opener` for the tables of a schema, in any letter case. Row numbers: the first record is row 2."""

    connection: Connection
    schema: str | None
    name: str

    def __call__(self, spec: TableSpec, malformed: files.Malformed) -> tuple[str, Iterator[files.Batch]] | None:
        import sqlalchemy as sa

        inspector = sa.inspect(self.connection)
        found = [*inspector.get_table_names(self.schema), *inspector.get_view_names(self.schema)]
        table = next((table for table in found if table.lower() == spec.name), None)
        if table is not None:
            header = [column["name"] for column in inspector.get_columns(table, self.schema)]
            return table, self._rows(table, header, files.positions(header, table, spec.wanted, spec.required))
        if spec.optional:
            return None
        raise InputError(f"table {spec.name} is missing: is this the schema? (?schema=NAME)", file=self.name)

    def _rows(self, table: str, header: list[str], position: dict[str, int]) -> Iterator[files.Batch]:
        import sqlalchemy as sa

        names = {ours: header[i] for ours, i in position.items()}
        needed = sorted(set(names.values()))
        # by the table's key, which is its first column: else a server may give another order each time
        place = sa.table(table, schema=self.schema)
        columns: list[Any] = [sa.column(name) for name in needed]
        rows = sa.select(*columns).select_from(place).order_by(sa.column(header[0]))
        result = self.connection.execute(rows, execution_options={"stream_results": True, "max_row_buffer": CHUNK_ROWS})
        last = 1
        none = {name: pa.nulls(0, pa.string()) for name in needed}
        yield files.Batch(np.empty(0, np.int64), {ours: none[name] for ours, name in names.items()}, names)
        for chunk in result.partitions(CHUNK_ROWS):
            arrays = {name: _array(values) for name, values in zip(needed, zip(*chunk, strict=True), strict=True)}
            row = np.arange(last + 1, last + 1 + len(chunk))
            last += len(chunk)
            yield files.Batch(row, {ours: arrays[name] for ours, name in names.items()}, names)


def _array(values: tuple[Any, ...]) -> pa.Array:
    """Typed where the database is; a column of several types, as SQLite allows, as text. '' is missing as in a file."""
    kinds = {type(value) for value in values} - {type(None)}
    if len(kinds) == 1 and kinds <= {int, float, date, datetime}:
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, OverflowError):
            pass
    texts = [None if value is None or value in files.MISSING else _text(value) for value in values]
    return pa.array([text if text is None else text.encode() for text in texts], pa.binary())


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", UNDECODABLE)
    return value.isoformat() if isinstance(value, date) else str(value)
