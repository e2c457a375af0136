"""A file or folder of FHIR JSON in; blocks of its lines, and the resources of a block, each with its place, out.

NDJSON is streamed by line, so its size does not matter. A JSON document (a Bundle, a resource, the manifest of a bulk
export) is held whole, so its size is limited. gzip is known by its bytes.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson

from recommender.errors import InputError
from recommender.loaders.fhir_elements import Json, amount, obj, objects, text

LINES, DOCUMENTS = (".ndjson", ".jsonl"), (".json",)
EXPORT_LOGS = ("log.ndjson", "log.ndjson.gz")  # what a bulk client notes of its download
BLOCK = 4 << 20  # bytes of lines that are handed on at a time
LONGEST_LINE = 32 << 20
LARGEST_DOCUMENT = 256 << 20
MOST_BUNDLES_DEEP = 3
NO_LINE = 1 << 30  # bytes without a line break: no NDJSON but, say, a gzip that unpacks to nothing but zeros
TYPE = re.compile(rb'\s*\{\s*"resourceType"\s*:\s*"([A-Za-z]+)"')

BROKEN = "not a line of JSON"
TOO_LONG = f"a line longer than {LONGEST_LINE >> 20} MB"
NO_RESOURCE = "no FHIR resource (it has no resourceType)"
NOT_READ = "a type of resource that is not read"
EMPTY_ENTRY = "an entry of a Bundle without a resource"


class Block(NamedTuple):
    """Some lines of NDJSON, the first of which is number `row`; None in place of one that is too long.

    Without a `row` it is one JSON document.
    """

    file: str
    lines: list[bytes | None]
    row: int | None


class Entry(NamedTuple):
    """One resource and its place; `problem` says why there is none to read. `full_url`: what a Bundle calls it."""

    row: int
    resource: Json
    full_url: str | None = None
    problem: str | None = None


@dataclass
class Said:
    """What the files say of the export: resources that were `deleted` ("Patient/1"), and how many were `promised`."""

    deleted: set[str] = field(default_factory=set)
    promised: Counter[str] = field(default_factory=Counter)


def paths(export: Path) -> list[Path]:
    """The files to read, in order of name. Raises InputError when there are none."""
    try:
        if export.is_file():
            return [export]
        if not export.is_dir():
            raise InputError("no such file or folder: name the export's folder, or its one file", file=str(export))
        found = sorted(path for path in export.iterdir() if _is_fhir(path))
        if not found and (export / "fhir").is_dir():  # where Synthea puts its Bundles
            return paths(export / "fhir")
    except OSError as error:
        raise InputError(f"the folder cannot be read: {error.strerror}", file=str(export)) from None
    if not found:
        raise InputError("no FHIR file in this folder: expected *.ndjson, *.json, or either with .gz", file=str(export))
    return found


def _is_fhir(path: Path) -> bool:
    name = path.name.lower()
    return name.removesuffix(".gz").endswith(LINES + DOCUMENTS) and name not in EXPORT_LOGS and path.is_file()


def blocks(path: Path) -> Iterator[Block]:
    """All of a file, at least one block. Raises InputError when it is damaged."""
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            source: IO[bytes] = gzip.GzipFile(fileobj=raw) if compressed else raw  # type: ignore[assignment]
            if path.name.lower().removesuffix(".gz").endswith(LINES):
                yield from _lines(source, path.name)
            else:
                yield Block(path.name, [_document(source, path.name)], None)
    except OSError as error:
        raise InputError(f"the file cannot be read: {error.strerror or 'it is damaged'}", file=path.name) from None


def _lines(source: IO[bytes], file: str) -> Iterator[Block]:
    lines: list[bytes | None] = []
    first, size = 1, 0
    try:
        while line := source.readline(LONGEST_LINE):
            number = first + len(lines)
            if len(line) >= LONGEST_LINE and not line.endswith(b"\n"):
                _skip(source, file, number)
                lines.append(None)
            else:
                lines.append(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
            size += len(line)
            if size >= BLOCK:
                yield Block(file, lines, first)
                lines, first, size = [], number + 1, 0
    except (EOFError, zlib.error, gzip.BadGzipFile):
        message = "the compressed file is cut off or damaged after this line: copy or export it again"
        raise InputError(message, file=file, row=first + len(lines) - 1) from None
    yield Block(file, lines, first)


def _skip(source: IO[bytes], file: str, number: int) -> None:
    """To the end of the line."""
    skipped = LONGEST_LINE
    while (piece := source.readline(LONGEST_LINE)) and not piece.endswith(b"\n"):
        skipped += len(piece)
        if skipped > NO_LINE:
            raise InputError("a line longer than 1 GB: this is no NDJSON, or it is damaged", file=file, row=number)


def _document(source: IO[bytes], file: str) -> bytes:
    try:
        data = source.read(LARGEST_DOCUMENT + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError("the compressed file is cut off or damaged: copy or export it again", file=file) from None
    if len(data) > LARGEST_DOCUMENT:
        message = f"a JSON document larger than {LARGEST_DOCUMENT >> 20} MB: export NDJSON, or name it .ndjson if it is"
        raise InputError(message, file=file)
    return data.removeprefix(b"\xef\xbb\xbf")


def entries(block: Block, wanted: frozenset[str], said: Said) -> Iterator[Entry]:
    """The resources of a block; `row` is the line in NDJSON, the entry in a Bundle, both from 1.

    Resources of types that are not `wanted` come as problems. Raises InputError for a document that is no JSON.
    """
    if block.row is None:
        yield from _of_document(block, wanted, said)
        return
    for number, line in enumerate(block.lines, start=block.row):
        if line is None:
            yield Entry(number, {}, problem=TOO_LONG)
            continue
        if not line.strip():
            continue
        kind = TYPE.match(line)
        if kind and kind.group(1).decode() not in wanted and kind.group(1) != b"Bundle":
            yield Entry(number, {}, problem=NOT_READ)  # most of an export may be claims: not even parsed
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            yield Entry(number, {}, problem=BROKEN)
            continue
        yield from _resources(value, number, wanted, said)


def resources_of(value: Any, wanted: frozenset[str]) -> Iterator[tuple[Json, str | None]]:
    """The wanted resources of parsed JSON (a Bundle, a resource, a list), each with what a Bundle calls it; not those
    that a Bundle deletes. A Bundle in a Bundle, as a batch answers, is taken apart too."""
    whole, said = [value], Said()
    found: list[Entry] = []
    for _ in range(MOST_BUNDLES_DEEP):
        entries = [entry for part in whole for entry in _resources(part, None, wanted | {"Bundle"}, said)]
        found += [entry for entry in entries if entry.problem is None and entry.resource["resourceType"] != "Bundle"]
        whole = [entry.resource for entry in entries if entry.resource.get("resourceType") == "Bundle"]
    for entry in found:
        if f"{entry.resource['resourceType']}/{entry.resource.get('id')}" not in said.deleted:
            yield entry.resource, entry.full_url


def _of_document(block: Block, wanted: frozenset[str], said: Said) -> Iterator[Entry]:
    try:
        value = orjson.loads(block.lines[0] or b"")
    except orjson.JSONDecodeError:
        message = "this is not JSON, or it is damaged: export it again (NDJSON must be named .ndjson)"
        raise InputError(message, file=block.file) from None
    if isinstance(value, dict) and "resourceType" not in value and "output" in value:
        _manifest(value, said)
    else:
        yield from _resources(value, None, wanted, said)


def _manifest(value: Json, said: Said) -> None:
    for output in objects(value.get("output")):
        kind, count = text(output.get("type")), amount(output.get("count"))
        if kind and count:
            said.promised[kind] += int(count)


def _resources(value: Any, line: int | None, wanted: frozenset[str], said: Said) -> Iterator[Entry]:
    """One resource, or the entries of a Bundle or of a list; those on one line share its number."""
    if isinstance(value, dict) and value.get("resourceType") == "Bundle":
        for place, entry in enumerate(_list(value.get("entry")), start=1):
            request = obj(obj(entry).get("request"))
            if request.get("method") == "DELETE":
                said.deleted.add("/".join((text(request.get("url")) or "").split("/")[-2:]))
                continue
            resource = obj(entry).get("resource")
            if resource is None:
                yield Entry(line or place, {}, problem=EMPTY_ENTRY)
            else:
                yield _entry(resource, line or place, text(entry.get("fullUrl")), wanted)
    elif isinstance(value, list):
        for place, resource in enumerate(value, start=1):
            yield _entry(resource, line or place, None, wanted)
    else:
        yield _entry(value, line or 1, None, wanted)


def _entry(resource: Any, row: int, full_url: str | None, wanted: frozenset[str]) -> Entry:
    kind = obj(resource).get("resourceType")
    if not isinstance(kind, str):
        return Entry(row, {}, problem=NO_RESOURCE)
    return Entry(row, resource, full_url) if kind in wanted else Entry(row, {}, problem=NOT_READ)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
