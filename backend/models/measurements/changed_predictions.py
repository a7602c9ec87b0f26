"""Find which next tokens two models predict differently, some hundred positions at a time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from backend.lab.differences import Predictions
from backend.models.measurements.output_space import logprobs
from backend.models.runtime.forward import hand_over
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts

TOP = 10
"""Tokens that are kept of each position, likelier and rarer."""


@dataclass(frozen=True, eq=False)
class Changes:
    """Predictions at some positions: sums of probability over them, and the largest changes of each position."""

    change: Float[Tensor, "groups tokens"]
    probability: Float[Tensor, "2 tokens"]
    positions: dict[str, Tensor]


def changes(
    pair: tuple[LoadedModel, LoadedModel],
    rows: list[Float[Tensor, "positions width"]],
    group: Int64[Tensor, " positions"],
    groups: int,
) -> Changes:
    """Compare reference and checkpoint; `rows` are their residuals after the final norm, `group` those of the texts."""
    sums: list[Tensor] = []
    parts: defaultdict[str, list[Tensor]] = defaultdict(list)
    for at, (before, after) in logprobs(pair, rows):
        gained = after - before
        p, q = before.exp(), after.exp()
        member = torch.nn.functional.one_hot(group[at].to(p.device), groups).T.to(p.dtype)
        step = [member @ p, member @ q]
        sums = [total + one for total, one in zip(sums, step, strict=True)] if sums else step
        fall = p.mul_(-gained)  # what is summed into KL(reference, checkpoint)
        parts["kl"].append(fall.sum(-1))
        for names, values in ((("fall", "falling"), fall), (("rise", "rising"), q.mul_(gained))):
            largest, tokens = values.topk(min(TOP, values.shape[1]), dim=-1)
            for name, found in zip(names, (largest.clamp(min=0), tokens.int()), strict=True):
                parts[name].append(found)
    summed = torch.stack(sums).double()
    positions = {name: torch.cat(found).cpu() for name, found in parts.items()}
    return Changes((summed[1] - summed[0]).cpu(), summed.sum(1).cpu(), positions)


class Gathered:
    """The changes of all texts, put in the order of texts and positions."""

    def __init__(self, prompts: Prompts, groups: Int64[np.ndarray, " texts"]) -> None:
        self.prompts, self.counts = prompts, np.maximum(prompts.lengths - 1, 0)
        self.starts = np.concatenate([[0], np.cumsum(self.counts)])
        self.predicted = np.bincount(groups, self.counts, int(groups.max()) + 1).astype(np.int64)
        self.arrays: dict[str, np.ndarray] = {}
        self.change: Any = 0.0
        self.probability: Any = 0.0

    def add(self, batch: list[int], found: Changes) -> None:
        """Add the changes of a batch, whose texts have these places among the prompts."""
        self.change = self.change + found.change.numpy()
        self.probability = self.probability + found.probability.numpy()
        places = np.concatenate([np.arange(self.starts[i], self.starts[i + 1]) for i in batch])
        for name, values in found.positions.items():
            part = values.numpy()
            whole = self.arrays.setdefault(name, np.empty((self.starts[-1], *part.shape[1:]), part.dtype))
            whole[places] = part

    def result(self, loaded: LoadedModel) -> Predictions:
        """Return everything, read-only. Raises CheckpointError if a value is not finite."""
        total = max(1, int(self.starts[-1]))
        before, after = (self.probability / total).astype(np.float32)
        arrays = self.arrays | {
            "change": self.change.astype(np.float32),
            "before": before,
            "after": after,
            "predicted": self.predicted,
            "text": np.repeat(np.arange(len(self.counts), dtype=np.int32), self.counts),
            "position": np.concatenate([np.arange(count, dtype=np.int32) for count in self.counts]),
            "following": np.array([token for ids in self.prompts.token_ids for token in ids[1:]], np.int32),
        }
        arrays["kl"] = np.maximum(arrays["kl"], 0)  # negative values are rounding errors
        hand_over(loaded, *arrays.values())
        return Predictions(**arrays)
