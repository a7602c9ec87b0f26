"""Run models whose change is scaled, reference + alpha (checkpoint - reference), for all scalings of a plan together.

A scaling of some blocks is the reference up to its first block: that part of the run, the trunk, is shared. At each
block, runs that use the same weights pass it together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from backend.caching.progress import Progress
from backend.errors import CheckpointError, UndefinedError
from backend.lab.differences import ScaledPredictions, Scaling
from backend.models.measurements.host_and_donor import check_halves
from backend.models.measurements.logit_lens import label_logits
from backend.models.measurements.output_space import along
from backend.models.runtime.batching import in_batches, tokens_at_once
from backend.models.runtime.blocks import attend, embed, proceed, surroundings
from backend.models.runtime.calls import Residuals
from backend.models.runtime.devices import free_bytes
from backend.models.runtime.forward import hand_over, pad
from backend.models.runtime.hooks import at_positions
from backend.models.runtime.load import LoadedModel
from backend.models.runtime.scaled import ScaledModel
from backend.study.token_ids import Prompts
from backend.study.whole_words import expand

TOGETHER = 4
"""Runs of one batch that pass a block together."""
HELD_SHARE = 0.25
"""Maximal share of the free memory for residuals; further scalings run in a later wave."""


def scaled(
    reference: LoadedModel,
    checkpoint: LoadedModel,
    plan: Sequence[Scaling],
    prompts: Prompts,
    progress: Progress,
    held: int | None = None,
) -> Float32[np.ndarray, "scalings reviews classes"]:
    """Return label logits under each scaling; at most `held` runs of a batch are kept at once.

    Raises CheckpointError for models of different kinds or a block out of range, DeviceError when one prompt alone does
    not fit.
    """
    check(reference, checkpoint, plan)
    words = expand(prompts)
    model = ScaledModel(reference, checkpoint)
    logits = np.empty((len(plan), len(words.prompts.token_ids), words.prompts.classes), np.float32)

    def read(batch: Prompts) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        runs = _Runs(reference, checkpoint, model, batch, True, held)
        for scaling, last in zip(plan, runs.ends(plan), strict=True):
            scale_ends(model, scaling)
            residuals = last[:, 0].to("cpu", torch.float32).numpy()
            found.append(label_logits(residuals, batch.columns, model.loaded, model.loaded))
        return found

    doing = f"Scaling the change, {len(plan)} ways"
    for batch, found in in_batches(read, reference, words.prompts, progress, doing, _tokens(reference)):
        logits[:, batch] = found
    combined = words.combine_rows(logits)
    hand_over(reference, combined)
    return combined


def scaled_predictions(
    reference: LoadedModel,
    checkpoint: LoadedModel,
    plan: Sequence[Scaling],
    prompts: Prompts,
    progress: Progress,
    held: int | None = None,
) -> ScaledPredictions:
    """Return the loss and the KL from the reference along the texts, under each scaling. Raises what `scaled` does.

    Raises UndefinedError if either model predicts no tokens.
    """
    for one in (reference, checkpoint):
        if not one.components.family.predicts:
            raise UndefinedError(
                f"{one.model.config.name_or_path} predicts no tokens, so scaling its change moves no prediction; use "
                f"causal language models."
            )
    check(reference, checkpoint, plan)
    model = ScaledModel(reference, checkpoint)
    loss = np.empty((len(plan), len(prompts.token_ids)), np.float32)
    kl = np.empty_like(loss)

    def read(batch: Prompts) -> Float64[Tensor, "2 scalings batch"]:
        return _along(reference, _Runs(reference, checkpoint, model, batch, False, held), plan)

    doing = f"Scaling the change, {len(plan)} ways"
    for batch, found in in_batches(read, reference, prompts, progress, doing, _tokens(reference)):
        loss[:, batch], kl[:, batch] = found.numpy()
    predicted = prompts.lengths - 1
    hand_over(reference, loss, kl, predicted)
    return ScaledPredictions(loss, kl, predicted)


def check(reference: LoadedModel, checkpoint: LoadedModel, plan: Sequence[Scaling]) -> None:
    """Raise CheckpointError for a block out of range, or halves of blocks that are not confirmed."""
    if any(scaling.part in ("attn", "mlp") for scaling in plan):
        check_halves(reference, checkpoint)
    name, layers = reference.model.config.name_or_path, len(reference.components.blocks)
    wrong = next((block for scaling in plan for block in scaling.blocks if not 0 <= block < layers), None)
    if wrong is not None:
        raise CheckpointError(f"Block {wrong} cannot be scaled: {name} has blocks 0 to {layers - 1}.")


def scale_ends(model: ScaledModel, scaling: Scaling) -> None:
    """Scale the final norm and the head of the private model, or put them back to the reference's."""
    for place in ("final_norm", "head"):
        model.scale(place, scaling.alpha if scaling.part in ("all", place) else 0.0)


def _tokens(loaded: LoadedModel) -> int:
    """Return the tokens of a batch: less than usual, because several runs pass a block together."""
    return max(1, tokens_at_once(loaded) // TOGETHER)


@torch.inference_mode()
def _along(reference: LoadedModel, runs: _Runs, plan: Sequence[Scaling]) -> Float64[Tensor, "2 scalings batch"]:
    """Return loss and KL from the reference of one batch, on the CPU, summed over each text's predicted tokens."""
    lengths = torch.tensor([len(ids) for ids in runs.batch.token_ids], device=runs.ids.device)
    real = torch.arange(runs.ids.shape[1], device=runs.ids.device) < lengths[:, None]
    sums: list[Tensor] = []
    *ends, trunk = runs.ends([*plan, Scaling("block", 0.0)])
    plain = reference.components.ln_final(trunk)[:, :-1][real[:, 1:]]
    for scaling, last in zip(plan, ends, strict=True):
        scale_ends(runs.model, scaling)
        rows = runs.model.loaded.components.ln_final(last)[:, :-1][real[:, 1:]]
        found = along((reference, runs.model.loaded), [plain, rows], runs.ids, real)
        sums.append(torch.stack([found["loss"], found["kl"]]))
    return torch.stack(sums, dim=1) if sums else torch.zeros((2, 0, len(lengths)), dtype=torch.float64)


class _Runs:
    """Run the scalings of a plan on one padded batch."""

    def __init__(
        self,
        reference: LoadedModel,
        checkpoint: LoadedModel,
        model: ScaledModel,
        batch: Prompts,
        readout_only: bool,
        held: int | None,
    ) -> None:
        self.reference, self.checkpoint, self.model = reference, checkpoint, model
        self.batch, self.readout_only = batch, readout_only
        self.ids, self.readout, self.inputs = pad(batch.token_ids, batch.readout, reference, batch.token_types)
        self.layers = len(reference.components.blocks)
        size = self.ids.numel() * reference.model.config.hidden_size * reference.model.dtype.itemsize
        self.held = held or max(1, int(free_bytes(reference.device) * HELD_SHARE) // size)

    @torch.inference_mode()
    def ends(self, plan: Sequence[Scaling]) -> list[Tensor]:
        """Return the last residuals under each scaling, before the final norm, at the readout position or all."""
        self.around = surroundings(self.reference, self.ids, self.inputs)
        ordered = sorted(dict.fromkeys(one for one in plan if self._start(one) < self.layers), key=self._start)
        waves = [ordered[i : i + self.held] for i in range(0, len(ordered), self.held)]
        starts = {self._start(wave[0]) for wave in waves}
        trunk, trunks = embed(self.reference, self.ids, self.inputs), {}
        for block in range(self.layers):
            if block in starts:
                trunks[block] = trunk
            trunk = self._pass(block, [trunk], self.reference, self.reference)[0]
        found: dict[Scaling, Tensor] = {}
        for wave in waves:
            start = self._start(wave[0])
            found |= self._wave(wave, start, trunks[start])
        return [found.get(scaling, trunk) for scaling in plan]

    def _start(self, scaling: Scaling) -> int:
        """Return the first block that differs from the reference's run; L if none does."""
        if scaling.alpha == 0 or scaling.part in ("final_norm", "head"):
            return self.layers
        return 0 if scaling.part in ("all", "embed") else min(scaling.blocks, default=self.layers)

    def _changes(self, scaling: Scaling, block: int) -> bool:
        return scaling.part == "all" or block in scaling.blocks

    def _wave(self, wave: Sequence[Scaling], start: int, trunk: Residuals) -> dict[Scaling, Tensor]:
        """Run some scalings from block `start`, which the trunk has reached."""
        live: dict[Scaling, Tensor] = {}
        for scaling in wave:
            if scaling.part in ("all", "embed"):
                self.model.scale("embed", scaling.alpha)
                live[scaling] = embed(self.model.loaded, self.ids, self.inputs)
        self.model.scale("embed", 0.0)
        for block in range(start, self.layers):
            changing = [one for one in wave if self._changes(one, block) and self._start(one) <= block]
            as_reference = [one for one in live if one not in changing]
            goes_on = any(self._start(one) > block for one in wave)
            runs = [live[one] for one in as_reference] + ([trunk] if goes_on else [])
            passed: dict[Scaling, Tensor] = {}
            for alpha in dict.fromkeys(one.alpha for one in changing):
                self.model.scale(block, alpha)
                for part in ("all", "attn", "mlp"):
                    own = [one for one in changing if one.alpha == alpha and _half(one) == part]
                    halves = [
                        self.model.loaded if part in (half, "all") else self.reference for half in ("attn", "mlp")
                    ]
                    passed |= zip(own, self._pass(block, [live.get(one, trunk) for one in own], *halves), strict=True)
            self.model.scale(block, 0.0)
            after = self._pass(block, runs, self.reference, self.reference)
            if goes_on:
                trunk = after.pop()
            live = dict(zip(as_reference, after, strict=True)) | passed
        return live

    def _halves(self, part: str) -> tuple[LoadedModel, LoadedModel]:
        """Return the models whose attention and whose MLP run when this part of a block is scaled."""
        attends, proceeds = (self.model.loaded if part in (half, "all") else self.reference for half in ("attn", "mlp"))
        return attends, proceeds

    def _pass(self, block: int, runs: Sequence[Tensor], attends: LoadedModel, proceeds: LoadedModel) -> list[Tensor]:
        """Return each run's residuals after the block; after the last only the readout position, if that is read."""
        passed: list[Tensor] = []
        for i in range(0, len(runs), TOGETHER):
            chunk = [run.to(runs[0].device) for run in runs[i : i + TOGETHER]]
            x = attend(attends, block, torch.cat(chunk) if len(chunk) > 1 else chunk[0], self.around)
            if self.readout_only and block == self.layers - 1:  # the second half uses each position alone
                x = at_positions(x, self.readout.repeat(len(chunk)))[:, None]
            passed += proceed(proceeds, block, x).split(len(self.ids))
        return passed


def _half(scaling: Scaling) -> str:
    """Return which half of a block is scaled: all, attn or mlp."""
    return scaling.part if scaling.part in ("attn", "mlp") else "all"
