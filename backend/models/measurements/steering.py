"""Run a model under many interventions on its residual stream, each only where it differs from the unchanged model.

The unchanged model's run over a batch, the trunk, happens once. An intervention on only the readout position of a
causal model runs as one token (`branches`); any other runs as a copy of the batch, from the first layer that it
changes. Both run in chunks, and the model's weights never change.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from backend.caching.progress import Progress
from backend.errors import CheckpointError
from backend.lab.outputs import Intervention, SteeringVectors
from backend.models.measurements.logit_lens import label_logits
from backend.models.runtime.batching import BATCH_TOKENS, make_batches, run_batches, tokens_at_once
from backend.models.runtime.blocks import attend, embed, proceed, surroundings
from backend.models.runtime.branches import Kept, around_branches, run_branches
from backend.models.runtime.calls import Residuals
from backend.models.runtime.devices import free_bytes
from backend.models.runtime.forward import hand_over, pad
from backend.models.runtime.hooks import at_positions
from backend.models.runtime.interventions import act, check, layers_of, sent
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts
from backend.study.whole_words import expand

AT_ONCE = BATCH_TOKENS | {"cpu": 1024}
"""Tokens that pass a block together."""
HELD_SHARE = 0.25
"""Maximal share of the free memory for the cached keys and values of a batch."""


def steered(
    loaded: LoadedModel,
    plan: Sequence[Intervention],
    prompts: Prompts,
    progress: Progress,
    tokens: int | None = None,
    held_bytes: int | None = None,
) -> Float32[np.ndarray, "interventions reviews classes"]:
    """Return label logits of the model under each intervention of the plan, read by its own final norm and head.

    At most `tokens` tokens pass a block together; cached keys and values of a batch take at most about `held_bytes`.
    `progress` is called before every block. Raises CheckpointError for a model without a head, an intervention that
    does not fit it, or values that are not finite, DeviceError when one prompt alone does not fit.
    """
    check(loaded, plan)
    if not loaded.components.family.has_head:
        raise CheckpointError(
            f"{loaded.model.config.name_or_path} has no head, so the effect of steering cannot be read; choose a "
            f"checkpoint with a head."
        )
    words = expand(prompts)
    prompts = words.prompts
    at_once = tokens or tokens_at_once(loaded, AT_ONCE)
    lengths = [len(ids) for ids in prompts.token_ids]
    layers, config = len(loaded.components.blocks), loaded.model.config
    per_token = 2 * layers * config.hidden_size * loaded.model.dtype.itemsize
    cached_tokens = (held_bytes or int(free_bytes(loaded.device) * HELD_SHARE)) // per_token
    light = [i for i, intervention in enumerate(plan) if prompts.beginnings == () and _is_light(loaded, intervention)]
    meter, done = _Meter(_work(loaded, plan, light, lengths), progress), 0
    logits = np.empty((len(plan), len(lengths), len(prompts.label_tokens)), np.float32)

    def read(batch: list[int]) -> dict[int, Float32[np.ndarray, "batch width"]]:
        meter.done = done  # discard the count of a batch that did not fit
        return _Batch(loaded, prompts, batch, at_once, meter).read(plan, light)

    def shrink(batch: list[int]) -> bool:
        nonlocal at_once
        if at_once <= lengths[batch[0]]:
            return False
        at_once //= 2  # run fewer branches together
        return True

    batches = make_batches(lengths, max(1, min(at_once, cached_tokens))) if plan else []
    for batch, result in run_batches(batches, read, loaded.device, shrink):
        for i, last in result.items():
            logits[i, batch] = label_logits(last, prompts.columns, loaded, loaded)
        done = meter.done
    logits = words.combine_rows(logits)
    hand_over(loaded, logits)
    return logits


def _is_light(loaded: LoadedModel, intervention: Intervention) -> bool:
    """Return whether the intervention changes only the readout position, in a model that can run it alone."""
    return isinstance(intervention, SteeringVectors) and intervention.positions == "readout" and loaded.caches


def _work(loaded: LoadedModel, plan: Sequence[Intervention], light: Sequence[int], lengths: Sequence[int]) -> int:
    """Return the total number of tokens that pass a block."""
    layers, tokens = len(loaded.components.blocks), sum(lengths)
    passes = [layers - min(layers_of(intervention)) for intervention in plan]
    return layers * tokens + sum(n * (len(lengths) if i in set(light) else tokens) for i, n in enumerate(passes))


class _Meter:
    """Count the tokens that have passed a block; padding is not counted."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.total, self.done, self._progress = total, 0, progress

    def tell(self, tokens: int) -> None:
        """Report progress before `tokens` more pass a block; `progress` may raise Cancelled."""
        fraction = min(1.0, self.done / max(1, self.total))
        self._progress(fraction, f"Steering: {100 * fraction:.0f} % of all tokens have passed all blocks.")
        self.done += tokens


class _Batch:
    """Run a plan on one padded batch; `acting` is the readout position, before the prefix of a label word."""

    def __init__(self, loaded: LoadedModel, prompts: Prompts, batch: Sequence[int], tokens: int, meter: _Meter) -> None:
        self.loaded, self.meter, self.tokens = loaded, meter, tokens
        chosen = prompts.some(batch)
        self.ids, self.readout, self.inputs = pad(chosen.token_ids, chosen.readout, loaded, chosen.token_types)
        begun = torch.tensor(chosen.beginnings or [0] * len(batch))
        self.acting = self.readout - begun.to(self.readout.device)
        self.real = sum(map(len, chosen.token_ids))
        self.last = len(loaded.components.blocks)

    @torch.inference_mode()
    def read(self, plan: Sequence[Intervention], light: Sequence[int]) -> dict[int, Float32[np.ndarray, "batch width"]]:
        """Return the last residual at the readout position under each intervention, as float32 arrays on the CPU."""
        heavy = [i for i in range(len(plan)) if i not in set(light)]
        cache, results = Kept(), {}
        trunk = embed(self.loaded, self.ids, self.inputs)
        self.around = surroundings(self.loaded, self.ids, self.inputs)
        caching = cache.beside(self.around) if light else self.around
        ends: list[Tensor] = []
        for layer in range(self.last + 1):
            ends.append(self._at_readout(trunk)[:, 0])
            starting = [i for i in heavy if min(layers_of(plan[i])) == layer]
            together = max(1, self.tokens // self.ids.numel())
            for first in range(0, len(starting), together):
                chunk = starting[first : first + together]
                last = self._copies([plan[i] for i in chunk], layer, trunk)
                results |= zip(chunk, last, strict=True)
            if layer < self.last and (light or any(min(layers_of(plan[i])) > layer for i in heavy)):
                self.meter.tell(self.real)
                trunk = proceed(self.loaded, layer, attend(self.loaded, layer, trunk, caching))
        cache.filling = False
        ordered = sorted(light, key=lambda i: min(layers_of(plan[i])))
        together = max(1, self.tokens // len(self.ids))
        for first in range(0, len(ordered), together):
            chunk = ordered[first : first + together]
            results |= zip(chunk, self._branches([plan[i] for i in chunk], trunk, ends, cache), strict=True)
        return results

    def _branches(
        self, plan: Sequence[Intervention], trunk: Residuals, ends: Sequence[Tensor], cache: Kept
    ) -> list[np.ndarray]:
        """Run each intervention as one token after the prompts."""
        around = around_branches(self.around, trunk, self.readout, len(plan), cache)
        added: list[Tensor] = []
        for layer in range(self.last + 1):
            rows = np.zeros((len(plan), trunk.shape[-1]), np.float32)
            for row, intervention in zip(rows, plan, strict=True):
                if isinstance(intervention, SteeringVectors) and layer in intervention.layers:
                    row += intervention.vectors[intervention.layers.index(layer)]
            added.append(sent(rows, trunk))
        starts = [min(layers_of(intervention)) for intervention in plan]
        x = run_branches(self.loaded, starts, added, ends, around, self.meter.tell)
        return list(x.to("cpu", torch.float32).transpose(0, 1).numpy())

    def _copies(self, plan: Sequence[Intervention], start: int, trunk: Residuals) -> list[np.ndarray]:
        """Run each intervention on its own copy of the batch, from the trunk's residuals at layer `start`."""
        rows, whole = len(self.ids), torch.arange(self.ids.shape[1])[None]
        x, places = trunk.repeat(len(plan), 1, 1), whole
        for layer in range(start, self.last + 1):
            parts = zip(plan, x.split(rows), strict=True)
            x = torch.cat(
                [act(self.loaded, intervention, layer, part, places, self.acting) for intervention, part in parts]
            )
            if layer == self.last:
                break
            self.meter.tell(len(plan) * self.real)
            x = attend(self.loaded, layer, x, self.around)
            if layer == self.last - 1:  # the second half of a block uses each position alone
                x, places = self._at_readout(x), self.readout[:, None]
            x = proceed(self.loaded, layer, x)
        if start == self.last:
            x = self._at_readout(x)
        return [intervention[:, 0].numpy() for intervention in x.to("cpu", torch.float32).split(rows)]

    def _at_readout(self, x: Residuals) -> Float[Tensor, "copies 1 width"]:
        """Return the readout position of every row; `x` may hold several stacked copies of the batch."""
        return at_positions(x, self.readout.repeat(len(x) // len(self.readout)))[:, None]
