"""Convolutions over the last visits: Caser (Tang & Wang, WSDM 2018), for patients rather than users.

The last L visits are the rows of a picture E (L, d): each the mean of the embeddings of what it brought. Horizontal
filters of every height from 1 to L look for patterns of visits that follow each other (ReLU, then the largest over
time); vertical filters weigh the visits up. Both go through a dense layer to z (d,), and

    score_j = b_j + w_j z + sum of v_jc over what else is known (age, sex, allergies)

Two departures from the paper: a visit is a set, so a row is a mean; and nobody has an embedding of their own, because
tomorrow's patient was not learned from, so what is known beside the visits stands in its place. Fitted by Adam on the
logistic loss of every treatment that could begin. PyTorch (the extra `deep`) fits; what is kept are arrays, which are
scored without it, one row at a time, so that who is scored alone gets the same bits.

A score is no sum over what is known. Its explanation adds the row's columns one after another, in their order, and
tells by how much each moved the score: the parts add up exactly, and another order would share them out otherwise.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, replace
from importlib.util import find_spec
from typing import Any, ClassVar, Self

import numba
import numpy as np
from scipy import sparse

from recommender.errors import TrainingError
from recommender.matrix import ColumnIndex, PatientMatrix
from recommender.models.base import Contributions, FieldModel, as_contributions, in_canonical_order, unlearned
from recommender.sequence import BLOCK, LENGTH, items_of

STATIC = ("allergies", "demographics")


@dataclass(frozen=True, eq=False)
class CaserModel(FieldModel):
    """`width` d, filters of each height, `vertical` filters; `decay` of weights, `epochs` over the examples.

    lag (n_columns,) int32: which visit a column tells of (-1: none), item (n_columns,) int32: its place among the
    embeddings or, where it tells of no visit, among the static columns (-1: not read).
    """

    name: ClassVar[str] = "caser"
    needs_later: ClassVar[bool] = True
    reads_visits: ClassVar[bool] = True
    width: int = 24
    filters: int = 8
    vertical: int = 2
    decay: float = 1e-3
    dropout: float = 0.5
    epochs: int = 8
    seed: int = 0
    _: KW_ONLY
    lag: np.ndarray = field(default_factory=unlearned)
    item: np.ndarray = field(default_factory=unlearned)
    embedding: np.ndarray = field(default_factory=unlearned)  # (n_items, d)
    across: np.ndarray = field(default_factory=unlearned)  # (L, filters, L, d), rows beyond the height 0
    across_bias: np.ndarray = field(default_factory=unlearned)  # (L, filters)
    down: np.ndarray = field(default_factory=unlearned)  # (vertical, L)
    dense: np.ndarray = field(default_factory=unlearned)  # (L * filters + vertical * d, d)
    dense_bias: np.ndarray = field(default_factory=unlearned)  # (d,)
    out: np.ndarray = field(default_factory=unlearned)  # (d, n_targets)
    static: np.ndarray = field(default_factory=unlearned)  # (n_static, n_targets)
    bias: np.ndarray = field(default_factory=unlearned)  # (n_targets,)

    @staticmethod
    def is_available() -> bool:
        """Whether PyTorch is there to fit with."""
        return find_spec("torch") is not None

    def fit(self, matrix: PatientMatrix) -> Self:
        """Cost: `epochs` passes on one core. Raises TrainingError without PyTorch, or without what came later."""
        if not self.is_available():
            raise TrainingError("caser is fitted by PyTorch, which is not installed: pip install 'rxrec[deep]'")
        if matrix.later is None:
            raise TrainingError("caser learns from what began after a moment: the records tell no visits")
        matrix = in_canonical_order(matrix)
        lag, item = _read_as(matrix.index)
        learned = replace(self, lag=lag, item=item)
        arrays: dict[str, Any] = dict(_learned(learned, matrix))
        return replace(learned, **arrays)

    def score(self, rows: sparse.csr_matrix) -> np.ndarray:
        scores = np.empty((rows.shape[0], len(self.bias)), dtype=np.float32)
        arrays = (self.lag, self.item, self.embedding, self.across, self.across_bias, self.down, self.dense)
        more = (self.dense_bias, self.out, self.static, self.bias)
        _score(rows.indptr, rows.indices, rows.data, *arrays, *more, scores)
        return scores

    def contributions(self, columns: np.ndarray, weights: np.ndarray, target: int) -> Contributions:
        """What is said of nobody goes to the last column that is not read (the baseline), or to the first one."""
        n = len(columns)
        indptr = np.concatenate([[0], np.arange(n + 1).cumsum()])
        order = np.concatenate([np.arange(k) for k in range(n + 1)] or [np.empty(0, dtype=np.int64)]).astype(np.int64)
        shape = (n + 1, len(self.lag))
        prefixes = sparse.csr_matrix((weights[order], columns[order], indptr), shape=shape)
        scores = self.score(prefixes)[:, target].astype(np.float64)
        parts = np.diff(scores)
        if n:
            unread = np.flatnonzero(self.item[columns] < 0)
            parts[unread[-1] if len(unread) else 0] += scores[0]
        return as_contributions(columns, parts)


def _read_as(index: ColumnIndex) -> tuple[np.ndarray, np.ndarray]:
    """(lag, item) of every column. Without visits, a matrix is read as one that brought all that is on the chart."""
    lag, item = np.full(len(index), -1, dtype=np.int32), np.full(len(index), -1, dtype=np.int32)
    n = len(items_of(index))
    blocks = [block for block in index.blocks if block.name.startswith(BLOCK)]
    for number, block in enumerate(blocks[:LENGTH]):
        lag[block.start : block.stop], item[block.start : block.stop] = number, np.arange(n)
    if not blocks:
        lag[items_of(index)], item[items_of(index)] = 0, np.arange(n)
    static = [ix for block in index.blocks if block.name in STATIC for ix in range(block.start, block.stop)]
    item[static] = np.arange(len(static))
    return lag, item


def _learned(model: CaserModel, matrix: PatientMatrix) -> dict[str, np.ndarray]:
    """The learned arrays by name."""
    import torch  # the extra `deep`; seconds to import, only needed to fit
    from torch import nn

    index, rows, d, length = matrix.index, matrix.rows, model.width, LENGTH
    n_items, n_static = len(items_of(index)), int(((model.lag < 0) & (model.item >= 0)).sum())
    n_targets = len(index.targets)
    began = torch.from_numpy(matrix.outcomes.toarray() > 0).float()
    could = torch.from_numpy(matrix.had.toarray() == 0).float()
    if matrix.weight is not None:
        could = could * torch.from_numpy(matrix.weight.astype(np.float32))[:, None]
    visit = [_part(rows, (model.lag == lag), model.item, n_items) for lag in range(length)]
    static = torch.from_numpy(_part(rows, (model.lag < 0) & (model.item >= 0), model.item, n_static))
    pictures = torch.from_numpy(np.stack(visit, axis=1))  # (n, L, n_items)
    pictures = pictures / pictures.sum(dim=2, keepdim=True).clamp(min=1.0)
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    torch.set_num_threads(1)  # the same bytes on any number of cores
    torch.manual_seed(model.seed)
    try:
        with torch.enable_grad():
            parts = {
                "embedding": torch.randn(n_items, d) / np.sqrt(d),
                "across": torch.randn(length, model.filters, length, d) / np.sqrt(length * d),
                "across_bias": torch.zeros(length, model.filters),
                "down": torch.randn(model.vertical, length) / np.sqrt(length),
                "dense": torch.randn(length * model.filters + model.vertical * d, d) / np.sqrt(d),
                "dense_bias": torch.zeros(d),
                "out": torch.zeros(d, n_targets),
                "static": torch.zeros(n_static, n_targets),
                "bias": torch.log((began.sum(0) + 0.5) / ((could - began).clamp(min=0).sum(0) + 0.5)),
            }
            height = torch.arange(length)[None, None, :, None] <= torch.arange(length)[:, None, None, None]
            weights = {name: nn.Parameter(part.float()) for name, part in parts.items()}
            decayed = [part for name, part in weights.items() if "bias" not in name]
            plain = [part for name, part in weights.items() if "bias" in name]
            groups = [{"params": decayed, "weight_decay": model.decay}, {"params": plain, "weight_decay": 0.0}]
            adam = torch.optim.Adam(groups, lr=5e-3)
            batches = max(1, -(-len(pictures) // 256))
            for _ in range(model.epochs):
                for batch in torch.randperm(len(pictures)).chunk(batches):
                    e = pictures[batch] @ weights["embedding"]  # (b, L, d)
                    filters = weights["across"] * height
                    found = []
                    for h in range(length):
                        windows = e.unfold(1, h + 1, 1)  # (b, L - h, d, h + 1)
                        hit = torch.einsum("btdk,fkd->btf", windows, filters[h][:, : h + 1])
                        found.append(torch.relu(hit + weights["across_bias"][h]).amax(dim=1))
                    found.append(torch.einsum("vl,bld->bvd", weights["down"], e).flatten(1))
                    z = nn.functional.dropout(torch.cat(found, dim=1), model.dropout)
                    z = torch.relu(z @ weights["dense"] + weights["dense_bias"])
                    said = z @ weights["out"] + static[batch] @ weights["static"] + weights["bias"]
                    loss = nn.functional.binary_cross_entropy_with_logits(said, began[batch], reduction="none")
                    adam.zero_grad()
                    ((loss * could[batch]).sum() / len(batch)).backward()
                    adam.step()
        learned = {name: part.detach().numpy().astype(np.float32) for name, part in weights.items()}
        learned["across"] *= height.numpy()
        return learned
    finally:
        torch.set_num_threads(threads)
        torch.random.set_rng_state(state)


def _part(rows: sparse.csr_matrix, which: np.ndarray, item: np.ndarray, n: int) -> np.ndarray:
    """(n_rows, n) float32: the weights of the columns `which` (n_columns,) bool, each at its item."""
    columns = np.flatnonzero(which)
    found = np.zeros((rows.shape[0], n), dtype=np.float32)
    found[:, item[columns]] = rows[:, columns].toarray()
    return found


@numba.njit(cache=True, nogil=True)
def _score(
    indptr: Any,
    indices: Any,
    data: Any,
    lag: Any,
    item: Any,
    embedding: Any,
    across: Any,
    across_bias: Any,
    down: Any,
    dense: Any,
    dense_bias: Any,
    out: Any,
    static: Any,
    bias: Any,
    scores: Any,
) -> None:
    length, n_filters, d = across.shape[0], across.shape[1], embedding.shape[1]
    for row in range(len(indptr) - 1):
        picture, brought = np.zeros((length, d)), np.zeros(length)
        said = bias.astype(np.float64)
        for a in range(indptr[row], indptr[row + 1]):
            column = indices[a]
            if item[column] < 0:
                continue
            if lag[column] < 0:
                for j in range(len(said)):
                    said[j] += data[a] * static[item[column], j]
            else:
                brought[lag[column]] += data[a]
                for k in range(d):
                    picture[lag[column], k] += data[a] * embedding[item[column], k]
        for at in range(length):
            for k in range(d):
                picture[at, k] /= max(brought[at], 1.0)
        hidden, place = np.zeros(dense.shape[0]), 0
        for h in range(length):
            for f in range(n_filters):
                best = 0.0  # what ReLU leaves
                for start in range(length - h):
                    hit = float(across_bias[h, f])
                    for k in range(h + 1):
                        for i in range(d):
                            hit += picture[start + k, i] * across[h, f, k, i]
                    best = max(best, hit)
                hidden[place] = best
                place += 1
        for v in range(down.shape[0]):
            for i in range(d):
                for at in range(length):
                    hidden[place] += down[v, at] * picture[at, i]
                place += 1
        for k in range(d):
            z = float(dense_bias[k])
            for i in range(len(hidden)):
                z += hidden[i] * dense[i, k]
            if z > 0:
                for j in range(len(said)):
                    said[j] += z * out[k, j]
        for j in range(len(said)):
            scores[row, j] = said[j]
