"""Activation patching: a host reads a prompt with one residual taken from a donor's own run, at any layer and token.

The host's own run is shared: a branch starts at the layer where its residual is replaced, and in a causal model at the
token too, because nothing before it changes; it looks back at the keys and values of the host's own run. Branches of a
layer run together, in chunks. Meng et al. 2022, "Locating and Editing Factual Associations in GPT" (NeurIPS);
Heimersheim and Nanda 2024, "How to use and interpret activation patching" (arXiv:2404.15255).
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
from backend.models.runtime.batching import BATCH_TOKENS, too_large
from backend.models.runtime.blocks import Surroundings, attend, embed, proceed, surroundings
from backend.models.runtime.devices import give_back, is_out_of_memory
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
    """The first of the prompts, with each residual of the host replaced by the donor's at the same layer and token.

    `donor_columns` are the donor's own, where its head has its rows in another order than the host's. At most `tokens`
    tokens pass a block together. Raises CheckpointError for models that are no pair or values that are not finite,
    DeviceError when one branch alone does not fit. `progress` is told before every step of a block.
    """
    check_pair(host, donor)
    words = expand(prompts.first())
    columns = words.prompts.columns, donor_columns if prompts.single and donor_columns else words.prompts.columns
    rows = [_patch((host, donor), words.prompts, row, columns, progress, tokens) for row in range(words.positions)]
    length = len(prompts.token_ids[0])
    found = Patched(
        words.combine(np.stack([one.logits[:, :length] for one in rows])),
        words.combine(np.stack([one.host for one in rows])),
        words.combine(np.stack([one.donor for one in rows])),
    )
    hand_over(host, found.logits, found.host)
    if donor.components.family.has_head:
        hand_over(donor, found.donor)
    return found


def _patch(
    pair: tuple[LoadedModel, LoadedModel],
    prompts: Prompts,
    row: int,
    columns: tuple[Columns, Columns],
    progress: Progress,
    tokens: int | None,
) -> Patched:
    """One row of the prompts, read by host and donor with their columns."""
    host, _ = pair
    at_once = tokens or AT_ONCE[host.device.type]
    while True:
        try:
            found = _Runs(pair, prompts, row, columns, progress).read(at_once)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            found = None
        if found is not None:
            return found
        give_back(host.device)  # out here, where the error no longer keeps the tensors of the attempt
        if at_once <= len(prompts.token_ids[row]):
            raise too_large(host.device)
        at_once //= 2


def chunks(tokens: int, at_once: int, causal: bool) -> Iterator[range]:
    """The tokens in runs that pass a block together; a branch is as long as the prompt, if causal from its run's start.

    Latest first, because those are the shortest.
    """
    end = tokens
    while end > 0:
        start = end - 1
        while start > 0 and (end - start + 1) * (tokens - start + 1 if causal else tokens) <= at_once:
            start -= 1
        yield range(start, end)
        end = start


class _Kept:
    """Keys and values of the host's own run, block by block: where transformers looks for those of earlier tokens."""

    def __init__(self) -> None:
        self.start: int | None = None
        self.of_block: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, keys: Tensor, values: Tensor, block: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keep them; once `start` is set, put the kept ones of the tokens before it in front of those given."""
        if self.start is None:
            self.of_block[block] = keys, values
            return keys, values
        earlier = (one[:, :, : self.start].expand(len(keys), -1, -1, -1) for one in self.of_block[block])
        return tuple(torch.cat(pair, dim=2) for pair in zip(earlier, (keys, values), strict=True))  # pyright: ignore[reportReturnType]


class _Runs:
    """Host and donor on one prompt."""

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
        self.causal = host.components.family.kind == "causal"
        one = prompts.some([row])
        self.ids, readout, inputs = pad(one.token_ids, one.readout, host, one.token_types)
        self.types = inputs.get("token_type_ids")
        self.length, self.readout = self.ids.shape[1], int(readout)
        self.blocks = len(host.components.blocks)
        branches = self.length * self.blocks * (self.blocks + 1) // 2
        self.meter = BlockMeter(2 * self.blocks + branches, "Patching", progress)
        self.kept = _Kept()

    @torch.inference_mode()
    def read(self, at_once: int) -> Patched:
        """All branches; here tensors become float32 arrays on the CPU."""
        around = self._around(self.host)
        if self.causal:
            around = tuple(one | {"past_key_values": self.kept} for one in around)
        own = self._whole(self.host, around)
        given = [one.to(own[0].device) for one in self._whole(self.donor, self._around(self.donor))]
        host, donor = self._answers(self.host, own[-1])[0], self._answers(self.donor, given[-1])[0]
        logits = np.tile(host, (self.blocks + 1, self.length, 1))
        logits[-1, self.readout] = self._answers(self.host, given[-1])[0]  # at the end nobody looks at other tokens
        for layer in reversed(range(self.blocks)):  # the shortest first
            for run in chunks(self.length, at_once, self.causal):
                logits[layer, run.start : run.stop] = self._branches(layer, run, own[layer], given[layer], around)
        return Patched(logits=logits, host=host, donor=donor)

    def _around(self, loaded: LoadedModel) -> Surroundings:
        return surroundings(loaded, embed(loaded, self.ids, self.types))

    def _whole(self, loaded: LoadedModel, around: Surroundings) -> list[Tensor]:
        """The residuals [1, tokens, width] of every layer, the model run as it is."""
        states = [embed(loaded, self.ids, self.types)]
        for block in range(self.blocks):
            self.meter.step(1)
            states.append(proceed(loaded, block, attend(loaded, block, states[-1], around)))
        return states

    def _branches(
        self, layer: int, run: range, own: Tensor, given: Tensor, around: Surroundings
    ) -> Float32[np.ndarray, "run classes"]:
        """The host from `layer` on, once for each token of `run`, whose residual is the donor's."""
        start = run.start if self.causal else 0
        self.kept.start = start
        x = own[:, start:].repeat(len(run), 1, 1)
        rows, places = torch.arange(len(run), device=x.device), torch.arange(run.start, run.stop, device=x.device)
        x[rows, places - start] = given[0, places].to(x.dtype)
        later = tuple(_from(one, start, self.length) for one in around) if start else around
        for block in range(layer, self.blocks):
            self.meter.step(len(run))
            x = attend(self.host, block, x, later)
            if block == self.blocks - 1:  # the second half of a block looks at no other position
                x = x[:, self.readout - start, None]
            x = proceed(self.host, block, x)
        return self._answers(self.host, x, 0)

    def _answers(self, loaded: LoadedModel, x: Tensor, place: int | None = None) -> Float32[np.ndarray, "rows classes"]:
        """Label logits at the readout position; NaN without a head."""
        last = x[:, self.readout if place is None else place].to("cpu", torch.float32).numpy()
        columns = self.columns[0 if loaded is self.host else 1]
        if not loaded.components.family.has_head:
            return np.full((len(last), len(columns.tokens)), np.nan, np.float32)
        return label_logits(last, columns, loaded, loaded)


def _from(around: dict[str, Any], start: int, length: int) -> dict[str, Any]:
    """What attention is told, for the tokens from `start` on, which look at all that stand before them."""
    mask = around["attention_mask"]
    if mask is None:
        device = around["position_ids"].device
        every = torch.arange(length, device=device)
        mask = (every <= every[:, None])[None, None]
    cut: dict[str, Any] = {"attention_mask": mask[:, :, start:], "position_ids": around["position_ids"][:, start:]}
    if "position_embeddings" in around:
        cut["position_embeddings"] = tuple(one[:, start:] for one in around["position_embeddings"])
    return around | cut
