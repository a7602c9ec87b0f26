"""Run the swaps of parts of a donor into a host once, and give waiting pages the label logits so far."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32, Int64

from backend.caching.memoize import memoized
from backend.caching.progress import shown, so_far
from backend.lab.cost import Cost
from backend.lab.lab import Lab
from backend.lab.outputs import Swap
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts

Part = Literal["block", "attn", "mlp", "embed", "final_norm", "head"]
Mode = Literal["single", "up_to", "from", "range"]
PARTS: tuple[Part, ...] = get_args(Part)
MODES: tuple[Mode, ...] = get_args(Mode)
IN_BLOCKS: tuple[Part, ...] = ("block", "attn", "mlp")
"""The parts that every block has; a model has each other part once, and these swap only in mode single."""


def spans(part: Part, mode: Mode, layers: int) -> tuple[tuple[int, int], ...]:
    """Return first and last block of each swap; (0, -1) for a part outside blocks. Raises ValueError for its modes."""
    if part not in IN_BLOCKS:
        if mode != "single":
            raise ValueError(f"A model has {part} once, so mode {mode} is not possible; use mode single.")
        return ((0, -1),)
    blocks = range(layers)
    return {
        "single": tuple((block, block) for block in blocks),
        "up_to": tuple((0, block) for block in blocks),
        "from": tuple((block, layers - 1) for block in blocks),
        "range": tuple((first, last) for first in blocks for last in range(first, layers)),
    }[mode]


@dataclass(frozen=True)
class LogitsQuery:
    """The models, prompts and swaps that determine the logits."""

    host: PinnedCheckpoint
    donor: PinnedCheckpoint
    prompts: Prompts
    part: Part
    mode: Mode

    @property
    def cost(self) -> Cost:
        """Roughly how often the prompts pass the host with swaps; final norm and head are read from residuals."""
        if self.part not in (*IN_BLOCKS, "embed"):
            return Cost(passes=((self.host, 0), (self.donor, 0)))
        others = [mode for mode in MODES if mode != "range"] if self.mode == "range" else []
        steps = [label_logits.request(replace(self, mode=mode)) for mode in others]
        share = 1.0 if self.part == "embed" else 0.12 if self.mode == "range" else 0.35
        times = share * len(spans(self.part, self.mode, self.host.facts.layers))
        opening = Cost(passes=((self.donor, 0),), steps=tuple(steps))
        return opening.with_passes(self.host, self.prompts, times)


@dataclass(frozen=True, eq=False)
class Logits:
    """Label logits of the host with each swap, in the order of `spans`."""

    logits: Float32[np.ndarray, "swaps reviews classes"]


@memoized(version=1)
def label_logits(query: LogitsQuery, lab: Lab) -> Logits:
    """Run the host with each swap. Ranges at either end or of one block are taken from the other modes' results."""
    host, donor, part = query.host, query.donor, query.part
    if part in ("final_norm", "head"):
        last = lab.part(0, 2).readout(host, query.prompts).reading[:, :, -1]
        head, norm = (donor, host) if part == "head" else (host, donor)
        norm_of = norm if host.facts.kind == "causal" else None
        logits = lab.part(1, 2).answers(last, query.prompts, head, norm_of)
        return Logits(logits[None])
    requested = spans(part, query.mode, host.facts.layers)
    known: dict[tuple[int, int], np.ndarray] = {}
    if query.mode == "range":
        for i, mode in enumerate(MODES[:-1]):
            other = label_logits(replace(query, mode=mode), lab.part(i, len(MODES)))
            known |= zip(spans(part, mode, host.facts.layers), other.logits, strict=True)
        lab = lab.part(len(MODES) - 1, len(MODES))
    rest = tuple(span for span in requested if span not in known)
    plan = tuple(Swap(part, *span) for span in rest)
    if plan:
        with shown(label_logits.key(query)) as show:
            known |= zip(rest, lab.models.swaps(host, donor, plan, query.prompts, lab.progress, show), strict=True)
    return Logits(np.stack([known[span] for span in requested]))


def logits_so_far(
    query: LogitsQuery, lab: Lab
) -> tuple[Int64[np.ndarray, " done"], Float32[np.ndarray, "swaps done classes"]] | None:
    """Return the prompts and logits so far of a query that this process is computing, or None."""
    batches = so_far(label_logits.key(query))
    if not batches:
        return None
    done = np.array([i for batch in batches for i in batch.prompts], dtype=np.int64)
    known: dict[tuple[int, int], np.ndarray] = {}
    if query.mode == "range":
        for mode in MODES[:-1]:
            other = label_logits.peek(replace(query, mode=mode), lab)
            if other is None:
                return None
            known |= zip(spans(query.part, mode, query.host.facts.layers), other.logits[:, done], strict=True)
    requested = spans(query.part, query.mode, query.host.facts.layers)
    rest = [span for span in requested if span not in known]
    known |= zip(rest, np.concatenate([batch.logits for batch in batches], axis=1), strict=True)
    return done, np.stack([known[span] for span in requested])
