"""Lines of a list in, CSV or NDJSON in pieces out, so that a long list is sent while it is made."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import msgspec

from api.types import TreatmentLine

PIECE_LINES = 200  # sent at a time
COLUMNS = (
    "code", "kind", "name", "class", "therapeutic_group", "brands", "on_record", "patients",
    "formulary_status", "tier", "restriction", "matched", "spelling",
    "routes",
)  # fmt: skip


def ndjson_pieces(lines: Iterator[TreatmentLine]) -> Iterator[bytes]:
    for piece in _pieces(lines):
        yield msgspec.json.Encoder().encode_lines(piece)


def csv_pieces(lines: Iterator[TreatmentLine]) -> Iterator[bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for piece in _pieces(lines):
        writer.writerows(_row(line) for line in piece)
        yield buffer.getvalue().encode()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue().encode()  # the header, where there is nothing else


def _pieces(lines: Iterator[TreatmentLine]) -> Iterator[list[TreatmentLine]]:
    piece: list[TreatmentLine] = []
    for line in lines:
        piece.append(line)
        if len(piece) == PIECE_LINES:
            yield piece
            piece = []
    if piece:
        yield piece


def _row(line: TreatmentLine) -> list[str]:
    listed, routes = line.formulary, "|".join(f"{one.route}:{one.patients}" for one in line.routes)
    cells = [line.code, line.kind, line.name, line.class_, line.therapeutic_group, "|".join(line.brands)]
    cells += ["yes" if line.on_record else "no", line.patients or ""]
    cells += [listed.status, listed.tier, listed.restriction] if listed else ["", "", ""]
    # a cell that begins so is a formula to a spreadsheet, and names come from files that anyone may have written
    return [
        f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
        for cell in [*cells, line.matched or "", line.spelling, routes]
    ]
