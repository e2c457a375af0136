"""Cells of one column, as they lie in the bytes that were read of a file: text of which only the distinct ones are ever
made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from recommender.loaders import cell_kernel
from recommender.text_index import PADDING


@dataclass(frozen=True)
class Cells:
    """`data` (at least PADDING bytes longer than what is pointed to) uint8; begin, end (n,) int32, end -1 where nothing
    stands. The bytes are UTF-8."""

    data: np.ndarray
    begin: np.ndarray
    end: np.ndarray

    @classmethod
    def of(cls, texts: pa.StringArray) -> Cells:
        """The same cells, and the same bytes."""
        if not len(texts):  # it may be without buffers
            return cls(np.zeros(PADDING, np.uint8), np.empty(0, np.int32), np.empty(0, np.int32))
        _, offsets, held = texts.buffers()
        where = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
        data = np.frombuffer(held if held is not None else b"", np.uint8)
        if len(data) < where[-1] + PADDING:
            data = np.append(data, np.zeros(PADDING, np.uint8))
        end = where[1:]
        if texts.null_count:
            end = np.where(texts.is_valid().to_numpy(zero_copy_only=False), end, np.int32(-1))
        return cls(data, where[:-1], end)

    def __len__(self) -> int:
        return len(self.begin)

    @property
    def missing(self) -> np.ndarray:  # (n,) bool
        return self.end < 0

    def array(self, which: np.ndarray | slice = slice(None)) -> pa.Array:
        """Those cells as text, null where nothing stands."""
        begin, end = self.begin[which], self.end[which]
        texts, offsets = cell_kernel.gathered(self.data, begin, end)
        there = None if (end >= 0).all() else pa.array(end >= 0).buffers()[1]
        return pa.StringArray.from_buffers(len(begin), pa.py_buffer(offsets), pa.py_buffer(texts), there)

    def encoded(self) -> pa.DictionaryArray:
        """As text of which each distinct one is there once, in the order in which they appear."""
        codes, first = cell_kernel.encoded(self.data, self.begin, self.end)
        missing = codes < 0
        indices = pa.array(codes, mask=missing) if missing.any() else pa.array(codes)
        return pa.DictionaryArray.from_arrays(indices, self.array(first))
