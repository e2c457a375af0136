"""The bytes of a CSV file in; batches of the wanted columns' cells, each row with its number, out.

CSV is RFC 4180 with a header, commas and UTF-8 (a BOM and CRLF are fine). A row is a record: a quoted line break does
not start a new one. Where the file may be one of OHDSI's Athena, tabs may separate its fields, and a quotation mark is
then a plain character.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from recommender.errors import InputError
from recommender.loaders.cells import Cells
from recommender.loaders.columns import SUBSTITUTE
from recommender.loaders.csv_kernel import scanned
from recommender.text_index import PADDING

BLOCK = 4 << 20  # bytes parsed at a time
LONGEST_ROW = 8 << 20
LONGEST_HEADER = 1 << 20
UNDECODABLE = "rxrec-substitute"
codecs.register_error(UNDECODABLE, lambda error: (SUBSTITUTE, error.end))  # type: ignore[attr-defined]


@dataclass
class Malformed:
    """Row numbers of the records with a wrong number of fields; `joined`: those among them that span several lines."""

    rows: list[int] = field(default_factory=list)
    joined: list[int] = field(default_factory=list)


class Reader:
    """The rows after the header. `last`: the number of the last row that was given out or is in `malformed`."""

    def __init__(self, source: io.BufferedIOBase, file: str, delimiter: str, malformed: Malformed) -> None:
        self._source, self._file, self._delimiter, self._malformed = source, file, delimiter, malformed
        self.last = 1  # the header

    def batches(self, columns: int, wanted: Sequence[int]) -> Iterator[tuple[np.ndarray, list[Cells]]]:
        """Row numbers (n,) int64 and the cells of the wanted ones of so many columns. Raises InputError."""
        slot = np.full(columns, -1)
        slot[list(wanted)] = np.arange(len(wanted))
        quotes = self._delimiter == ","
        for data, size, final in self._blocks():
            begin, end, number, bad, several, self._used = scanned(
                data, size, final, ord(self._delimiter), quotes, slot
            )
            first = self.last + 1
            self.last += len(number) + len(bad)
            self._malformed.rows.extend((bad + first).tolist())
            self._malformed.joined.extend((bad[several] + first).tolist())
            yield number + first, [Cells(data, begin[place], end[place]) for place in range(len(wanted))]

    def _blocks(self) -> Iterator[tuple[np.ndarray, int, bool]]:
        """Bytes with room for as many more, how many they are, and whether they are the last ones. What was not used
        of a block, the beginning of a row, stands at the beginning of the next one."""
        rest = b""
        for text in _utf8(self._source):
            data, size = _block(rest, text)
            self._used = 0
            yield data, size, False
            rest = data[self._used : size].tobytes()
            if len(rest) > LONGEST_ROW:
                longest = f"{LONGEST_ROW >> 20} MB"
                message = f"the row after this one is longer than {longest}: is a quotation mark left open there?"
                raise InputError(message, file=self._file, row=self.last)
        data, size = _block(rest, b"" if rest.endswith((b"\n", b"\r")) or not rest else b"\n")
        self._used = 0
        yield data, size, True
        if self._used < size:
            message = (
                "a quotation mark is opened at or before this row and never closed, so the rows after it cannot be "
                "told apart: close it (inside a field, a quotation mark is written twice)"
            )
            raise InputError(message, file=self._file, row=self.last + 1)


def _block(rest: bytes, text: bytes) -> tuple[np.ndarray, int]:
    size = len(rest) + len(text)
    data = np.empty(2 * (size + PADDING), np.uint8)
    data[: len(rest)] = np.frombuffer(rest, np.uint8)
    data[len(rest) : size] = np.frombuffer(text, np.uint8)
    return data, size


def _utf8(source: io.BufferedIOBase) -> Iterator[bytes]:
    """The bytes as valid UTF-8: what is none turns into one SUBSTITUTE."""
    decoder = codecs.getincrementaldecoder("utf-8")(UNDECODABLE)
    while data := source.read(BLOCK):
        if decoder.getstate()[0] or not data.isascii():
            data = decoder.decode(data).encode()
        if data:  # else it was the beginning of a character
            yield data
    if rest := decoder.decode(b"", final=True).encode():
        yield rest


def header_of(source: io.BufferedIOBase, file: str, tabs: bool) -> tuple[list[str], str]:
    """The names of the columns, and what separates the fields."""
    text = b""
    while len(text) < LONGEST_HEADER and (line := source.readline(LONGEST_HEADER)):
        text += line
        if text.count(b'"') % 2 == 0:
            break
    text = text.strip(b"\r\n")
    if not text:
        raise InputError("the file starts with no header: its first row must name the columns", file=file, row=1)
    if b"\0" in text:
        raise InputError("NUL bytes: this is not UTF-8 text (UTF-16?): save it as CSV UTF-8", file=file, row=1)
    if len(text) >= LONGEST_HEADER or (b"\r" in text and b'"' not in text):
        raise InputError("this is no CSV header line: lines must end with LF or CRLF", file=file, row=1)
    try:
        delimiter = "\t" if tabs and b"\t" in text and b"," not in text else ","
        header = next(csv.reader([text.decode("utf-8-sig")], delimiter=delimiter), [])
    except UnicodeDecodeError:
        message = "this is not UTF-8: convert the file, for example with iconv -f WINDOWS-1252 -t UTF-8"
        raise InputError(message, file=file, row=1) from None
    except csv.Error:
        raise InputError("this is no CSV header line", file=file, row=1) from None
    return [name.strip() for name in header], delimiter
