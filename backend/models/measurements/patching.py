"""Activation patching: replace one residual of a host by the donor's, at every layer and token of a prompt.

All branches share the host's own run. A branch starts at the layer where its residual is replaced. In a causal model it
also starts at that token, because earlier ones do not change; it attends to the keys and values of the host's own run.
Branches of a layer run together, in chunks. Meng et al. 2022, "Locating and Editing Factual Associations in GPT"
(NeurIPS); Heimersheim and Nanda 2024, "How to use and interpret activation patching" (arXiv:2404.15255).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from backend.caching.progress import Progress
from backend.lab.outputs import Patched
from backend.models.measurements.host_and_donor import BlockMeter, check_pair
from backend.models.measurements.logit_lens import label_logits
from backend.models.runtime.batching import BATCH_TOKENS, run_alone, tokens_at_once
from backend.models.runtime.blocks import Surroundings, attend, embed, proceed, surroundings
from backend.models.runtime.branches import can_be_cut, later
from backend.models.runtime.forward import hand_over, pad
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Columns, Prompts
from backend.study.whole_words import expand

AT_ONCE = BATCH_TOKENS | {"cpu": 1024}
"""Tokens that pass a block together."""


def patch(
    host: LoadedModel,
    donor: LoadedModel,
    prompts: Prompts,
    progress: Progress,
    tokens: int | None = None,
    donor_columns: Columns | None = None,
) -> Patched:
    """Run the first prompt with each residual of the host replaced by the donor's at the same layer and token.

    `donor_columns` are the donor's label columns, if its head orders its rows in another way than the host's. At most
    `tokens` tokens pass a block together. `progress` is called before every block. Raises CheckpointError for models
    of different sizes or values that are not finite, DeviceError when one branch alone does not fit.
    """
    check_pair(host, donor)
    words = expand(prompts.first())
    columns = words.prompts.columns, donor_columns if prompts.single and donor_columns else words.prompts.columns
    rows = [_patch((host, donor), words.prompts, row, columns, progress, tokens) for row in range(words.positions)]
    length = len(prompts.token_ids[0])
    result = Patched(
        words.combine(np.stack([part.logits[:, :length] for part in rows])),
        words.combine(np.stack([part.host for part in rows])),
        words.combine(np.stack([part.donor for part in rows])),
    )
    hand_over(host, result.logits, result.host)
    if donor.components.family.has_head:
        hand_over(donor, result.donor)
    return result


def _patch(
    pair: tuple[LoadedModel, LoadedModel],
    prompts: Prompts,
    row: int,
    columns: tuple[Columns, Columns],
    progress: Progress,
    tokens: int | None,
) -> Patched:
    """Patch one row of the prompts, read by host and donor with their columns."""
    host, _ = pair
    at_once = tokens or tokens_at_once(host, AT_ONCE)

    def shrink() -> bool:
        nonlocal at_once
        if at_once <= len(prompts.token_ids[row]):
            return False
        at_once //= 2
        return True

    return run_alone(lambda: _Runs(pair, prompts, row, columns, progress).read(at_once), host.device, shrink)


def chunks(tokens: int, at_once: int, causal: bool) -> Iterator[range]:
    """Yield ranges of tokens whose branches pass a block together.

    A branch is as long as the prompt, in a causal model only from the start of its range. Later tokens come first,
    because their branches are the shortest.
    """
    end = tokens
    while end > 0:
        start = end - 1
        while start > 0 and (end - start + 1) * (tokens - start + 1 if causal else tokens) <= at_once:
            start -= 1
        yield range(start, end)
        end = start


class _Kept:
    """A key-value cache of the host's own run, in the form that transformers expects."""

    def __init__(self) -> None:
        self.start: int | None = None
        self.of_block: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, keys: Tensor, values: Tensor, block: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Store keys and values; once `start` is set, prepend the stored ones of the tokens before it."""
        if self.start is None:
            self.of_block[block] = keys, values
            return keys, values
        earlier = (stored[:, :, : self.start].expand(len(keys), -1, -1, -1) for stored in self.of_block[block])
        return tuple(torch.cat(pair, dim=2) for pair in zip(earlier, (keys, values), strict=True))  # pyright: ignore[reportReturnType]


class _Runs:
    """Run host and donor on one prompt."""

    def __init__(
        self,
        pair: tuple[LoadedModel, LoadedModel],
        prompts: Prompts,
        row: int,
        columns: tuple[Columns, Columns],
        progress: Progress,
    ) -> None:
        host, _ = self.host, self.donor = pair
        self.columns = columns
        self.causal = False
        one = prompts.some([row])
        self.ids, readout, inputs = pad(one.token_ids, one.readout, host, one.token_types)
        self.inputs = inputs
        self.length, self.readout = self.ids.shape[1], int(readout)
        self.blocks = len(host.components.blocks)
        branches = self.length * self.blocks * (self.blocks + 1) // 2
        self.meter = BlockMeter(2 * self.blocks + branches, "Patching", progress)
        self.kept = _Kept()

    @torch.inference_mode()
    def read(self, at_once: int) -> Patched:
        """Run all branches; tensors become float32 arrays on the CPU here."""
        around = self._around(self.host)
        self.causal = self.host.caches and can_be_cut(self.host, around, self.length)
        if self.causal:
            around = tuple(call.with_cache(self.kept) for call in around)
        host_states = self._whole(self.host, around)
        donor_states = self._whole(self.donor, self._around(self.donor))
        donor_states = [state.to(host_states[0].device) for state in donor_states]
        host, donor = self._answers(self.host, host_states[-1])[0], self._answers(self.donor, donor_states[-1])[0]
        logits = np.tile(host, (self.blocks + 1, self.length, 1))
        logits[-1, self.readout] = self._answers(self.host, donor_states[-1])[0]  # the head reads only this token
        for layer in reversed(range(self.blocks)):  # the shortest first
            for run in chunks(self.length, at_once, self.causal):
                logits[layer, run.start : run.stop] = self._branches(
                    layer, run, host_states[layer], donor_states[layer], around
                )
        return Patched(logits=logits, host=host, donor=donor)

    def _around(self, loaded: LoadedModel) -> Surroundings:
        return surroundings(loaded, self.ids, self.inputs)

    def _whole(self, loaded: LoadedModel, around: Surroundings) -> list[Tensor]:
        """Return the residuals [1, tokens, width] of every layer of the unchanged model."""
        states = [embed(loaded, self.ids, self.inputs)]
        for block in range(self.blocks):
            self.meter.step(1)
            states.append(proceed(loaded, block, attend(loaded, block, states[-1], around)))
        return states

    def _branches(
        self, layer: int, run: range, host_state: Tensor, donor_state: Tensor, around: Surroundings
    ) -> Float32[np.ndarray, "run classes"]:
        """Run the host from `layer` on, once for each token of `run`, with the donor's residual at that token."""
        start = run.start if self.causal else 0
        self.kept.start = start
        x = host_state[:, start:].repeat(len(run), 1, 1)
        rows, places = torch.arange(len(run), device=x.device), torch.arange(run.start, run.stop, device=x.device)
        x[rows, places - start] = donor_state[0, places].to(x.dtype)
        cut = tuple(later(call, start, self.length) for call in around) if start else around
        for block in range(layer, self.blocks):
            self.meter.step(len(run))
            x = attend(self.host, block, x, cut)
            if block == self.blocks - 1:  # the second half of a block uses each position alone
                x = x[:, self.readout - start, None]
            x = proceed(self.host, block, x)
        return self._answers(self.host, x, 0)

    def _answers(self, loaded: LoadedModel, x: Tensor, place: int | None = None) -> Float32[np.ndarray, "rows classes"]:
        """Return label logits at the readout position; NaN without a head."""
        last = x[:, self.readout if place is None else place].to("cpu", torch.float32).numpy()
        columns = self.columns[0 if loaded is self.host else 1]
        if not loaded.components.family.has_head:
            return np.full((len(last), len(columns.tokens)), np.nan, np.float32)
        return label_logits(last, columns, loaded, loaded)
