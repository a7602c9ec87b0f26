"""Compare residuals and next-token predictions of two models at every position, in one pass over the texts each.

Residuals and distributions are large, so only their sums are kept, apart for groups of texts: intervals and floors come
from the groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from backend.caching.progress import Progress
from backend.errors import CheckpointError
from backend.lab.differences import Differences
from backend.models.measurements.changed_predictions import Changes, Gathered, changes
from backend.models.runtime.batching import BATCH_TOKENS, in_batches, tokens_at_once
from backend.models.runtime.calls import Residuals, first, run_body
from backend.models.runtime.forward import hand_over, pad
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts

TOKENS = {device: min(tokens, 8192) for device, tokens in BATCH_TOKENS.items()}
"""Tokens of a batch: the residuals of every layer of one model are held at once."""
Pair = tuple[LoadedModel, LoadedModel]


def differences(
    checkpoint: LoadedModel,
    reference: LoadedModel,
    prompts: Prompts,
    groups: Int64[np.ndarray, " texts"],
    positions: int,
    progress: Progress,
) -> Differences:
    """Run both models over all texts; `groups` has the group of each text, and the first `positions` are kept apart.

    Predictions are over the token ids that both models have. Raises CheckpointError for models of different sizes or
    values that are not finite, DeviceError when one text alone does not fit.
    """
    pair = _checked(reference, checkpoint)
    sums: dict[str, np.ndarray] = {}
    grouped, count = replace(prompts, labels=groups), int(groups.max()) + 1
    predicts = all(one.components.family.predicts for one in pair) and int(prompts.lengths.max()) > 1
    gathered = Gathered(prompts, groups) if predicts else None

    def read(batch: Prompts) -> tuple[dict[str, Tensor], Changes | None]:
        return _read(pair, batch, count, positions, predicts and int(batch.lengths.max()) > 1)

    batches = in_batches(read, reference, grouped, progress, "Comparing both models", tokens_at_once(reference, TOKENS))
    for batch, (found, changed) in batches:
        for name, values in found.items():
            sums[name] = sums.get(name, 0) + values.numpy()
        if gathered is not None and changed is not None:
            gathered.add(batch, changed)
    total, lengths = (sums[name].astype(np.float32) for name in ("total", "lengths"))
    hand_over(checkpoint, total, lengths, sums["count"])
    return Differences(total, lengths, sums["count"], None if gathered is None else gathered.result(checkpoint))


def _checked(reference: LoadedModel, checkpoint: LoadedModel) -> Pair:
    """Return the pair. Raises CheckpointError if residuals cannot be subtracted."""
    sizes = [(len(one.components.blocks), one.model.config.hidden_size) for one in (reference, checkpoint)]
    if sizes[0] != sizes[1]:
        names = [one.model.config.name_or_path for one in (checkpoint, reference)]
        raise CheckpointError(f"{names[0]} and {names[1]} differ in size; compare checkpoints of one base.")
    return reference, checkpoint


@torch.inference_mode()
def _read(
    pair: Pair, batch: Prompts, groups: int, positions: int, predicts: bool
) -> tuple[dict[str, Tensor], Changes | None]:
    """Return one batch's sums over each group of texts, on the CPU, and its changed predictions."""
    ids, _, inputs = pad(batch.token_ids, batch.readout, pair[0], batch.token_types)
    lengths = torch.tensor([len(row) for row in batch.token_ids], device=ids.device)
    real = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    group = torch.from_numpy(batch.labels).to(ids.device)
    reduce = _Reduce(real, torch.nn.functional.one_hot(group, groups), positions)
    reference: list[Residuals] = []
    hidden: list[Tensor] = []

    def keep(_layer: int, x: Residuals) -> None:
        reference.append(x)

    def subtract(layer: int, x: Residuals) -> None:
        reduce.add(reference[layer], x.to(reference[layer].device))

    for loaded, see in zip(pair, (keep, subtract), strict=True):
        with _every_layer(loaded, see):
            hidden.append(run_body(loaded, ids, inputs).last_hidden_state.to(ids.device))
    if not predicts:
        return reduce.sums(), None
    rows = [states[:, :-1][real[:, 1:]] for states in hidden]
    text = group[:, None].expand_as(ids)[:, 1:][real[:, 1:]]
    return reduce.sums(), changes(pair, rows, text, groups)


class _Reduce:
    """Sum differences and lengths of residuals over each group: at the first positions, and over all."""

    def __init__(
        self, real: Bool[Tensor, "batch tokens"], member: Int64[Tensor, "batch groups"], positions: int
    ) -> None:
        self.real, self.member, self.positions = real.float(), member.float(), positions
        self.count = (member.T.double() @ self._places(self.real).double()).round().long()
        self.total: list[Tensor] = []
        self.lengths: list[Tensor] = []

    def add(self, before: Residuals, after: Residuals) -> None:
        """Add the next layer."""
        before = before.float()
        change = (after.float() - before) * self.real[..., None]
        self.total.append(torch.einsum("bg,bpw->gpw", self.member, self._places(change)).cpu())
        self.lengths.append((self.member.T @ self._places(before.norm(dim=-1) * self.real)).cpu())

    def _places(self, values: Float[Tensor, "batch tokens *width"]) -> Float[Tensor, "batch places *width"]:
        """Return the values of the first positions, 0 beyond the longest text, then their sum over all positions."""
        few = values[:, : self.positions]
        missing = values.new_zeros((len(values), self.positions - few.shape[1], *values.shape[2:]))
        return torch.cat([few, missing, values.sum(1, keepdim=True)], dim=1)

    def sums(self) -> dict[str, Tensor]:
        """Return the sums of all layers, in float64 so that batches add up exactly enough."""
        total, lengths = (torch.stack(parts, dim=2).double() for parts in (self.total, self.lengths))
        return {"total": total, "lengths": lengths, "count": self.count.cpu()}


@contextmanager
def _every_layer(loaded: LoadedModel, see: Callable[[int, Residuals], None]) -> Iterator[None]:
    """Call `see` with the residuals of each layer in a forward pass, 0 (entering block 0) to L (leaving the last)."""

    def entering(layer: int) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            see(layer, args[0] if args else kwargs["hidden_states"])

        return hook

    blocks = loaded.components.blocks

    def leaving(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        see(len(blocks), first(output))

    with ExitStack() as hooks:
        for layer, block in enumerate(blocks):
            hooks.callback(block.whole.register_forward_pre_hook(entering(layer), with_kwargs=True).remove)
        hooks.callback(blocks[-1].whole.register_forward_hook(leaving).remove)
        yield
