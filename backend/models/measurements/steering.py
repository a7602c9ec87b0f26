"""A model under many interventions on its residual stream, each run only where it differs from the model as it is.

The model's own run over a batch, the trunk, happens once. What is done at the readout position of a causal model alone
runs as one token per intervention (`branches`); what is done elsewhere runs as a copy of the batch, from the first
layer that it touches. Either goes in chunks, and no model is changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from backend.caching.progress import Progress
from backend.errors import CheckpointError
from backend.lab.outputs import Intervention, SteeringVectors
from backend.models.measurements.logit_lens import label_logits
from backend.models.runtime.batching import BATCH_TOKENS, halved, make_batches
from backend.models.runtime.blocks import Residuals, attend, embed, proceed, surroundings
from backend.models.runtime.branches import Kept, around_branches, run_branches
from backend.models.runtime.devices import free_bytes, give_back, is_out_of_memory
from backend.models.runtime.forward import hand_over, pad
from backend.models.runtime.interventions import act, check, layers_of, sent
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts
from backend.study.whole_words import expand

AT_ONCE = BATCH_TOKENS | {"cpu": 1024}
"""Tokens that pass a block together."""
HELD_SHARE = 0.25
"""Share of the free memory that the kept keys and values of a batch may take."""


def steered(
    loaded: LoadedModel,
    plan: Sequence[Intervention],
    prompts: Prompts,
    progress: Progress,
    tokens: int | None = None,
    held_bytes: int | None = None,
) -> Float32[np.ndarray, "interventions reviews classes"]:
    """Label logits of the model under each intervention of the plan, read by its own final norm and head.

    At most `tokens` tokens pass a block together; keys and values kept for a batch take at most about `held_bytes`.
    Raises CheckpointError for a model without a head, an intervention that does not fit it, or values that are not
    finite, DeviceError when one prompt alone does not fit. `progress` is told before every step of a block.
    """
    check(loaded, plan)
    if not loaded.components.family.has_head:
        raise CheckpointError(
            f"{loaded.model.config.name_or_path} has no head to answer with, so steering it cannot be read; choose "
            f"another checkpoint."
        )
    words = expand(prompts)
    prompts = words.prompts
    at_once = tokens or AT_ONCE[loaded.device.type]
    lengths = [len(ids) for ids in prompts.token_ids]
    layers, config = len(loaded.components.blocks), loaded.model.config
    per_token = 2 * layers * config.hidden_size * loaded.model.dtype.itemsize
    room = (held_bytes or int(free_bytes(loaded.device) * HELD_SHARE)) // per_token
    waiting = deque(make_batches(lengths, max(1, min(at_once, room))))
    light = [i for i, one in enumerate(plan) if prompts.beginnings == () and _is_light(loaded, one)]
    meter = _Meter(_work(loaded, plan, light, lengths), progress)
    logits = np.empty((len(plan), len(lengths), prompts.classes), np.float32)
    while waiting and plan:
        batch, before = waiting.popleft(), meter.done
        try:
            running = _Batch(loaded, prompts, batch, at_once, meter)
            found = running.read(plan, light)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            found = None
        if found is None:  # out here, where the error no longer keeps the tensors of the attempt
            meter.done = before
            if at_once > lengths[batch[0]]:
                at_once //= 2  # fewer branches at a time
                give_back(loaded.device)
                waiting.appendleft(batch)
            else:
                waiting.extendleft(reversed(halved(batch, loaded.device)))
            continue
        for i, last in found.items():
            logits[i, batch] = label_logits(last, prompts.columns, loaded, loaded)
    logits = words.combine_rows(logits)
    hand_over(loaded, logits)
    return logits


def _is_light(loaded: LoadedModel, one: Intervention) -> bool:
    """Whether all positions but the readout stay as they are."""
    return isinstance(one, SteeringVectors) and one.positions == "readout" and loaded.components.family.kind == "causal"


def _work(loaded: LoadedModel, plan: Sequence[Intervention], light: Sequence[int], lengths: Sequence[int]) -> int:
    """Tokens that pass a block in all."""
    layers, tokens = len(loaded.components.blocks), sum(lengths)
    passes = [layers - min(layers_of(one)) for one in plan]
    return layers * tokens + sum(n * (len(lengths) if i in set(light) else tokens) for i, n in enumerate(passes))


class _Meter:
    """Tokens that have passed a block, of those that are to pass one; padding is not counted."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.total, self.done, self._progress = total, 0, progress

    def tell(self, tokens: int) -> None:
        """Some more are about to pass; a cancel arrives here."""
        fraction = min(1.0, self.done / max(1, self.total))
        self._progress(fraction, f"Steering: {100 * fraction:.0f} % of all tokens have passed all blocks.")
        self.done += tokens


class _Batch:
    """A plan over one padded batch of prompts; `acting` is the readout position, before any beginning of a word."""

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
        """The last residual at the readout position under each intervention, as float32 arrays on the CPU."""
        heavy = [i for i in range(len(plan)) if i not in set(light)]
        kept, found = Kept(), {}
        trunk = embed(self.loaded, self.ids, self.inputs.get("token_type_ids"))
        self.around = surroundings(self.loaded, trunk, self.inputs.get("attention_mask"))
        keeping = kept.beside(self.around) if light else self.around
        ends: list[Tensor] = []
        for layer in range(self.last + 1):
            ends.append(self._at_readout(trunk)[:, 0])
            starting = [i for i in heavy if min(layers_of(plan[i])) == layer]
            together = max(1, self.tokens // self.ids.numel())
            for first in range(0, len(starting), together):
                chunk = starting[first : first + together]
                last = self._copies([plan[i] for i in chunk], layer, trunk)
                found |= zip(chunk, last, strict=True)
            if layer < self.last and (light or any(min(layers_of(plan[i])) > layer for i in heavy)):
                self.meter.tell(self.real)
                trunk = proceed(self.loaded, layer, attend(self.loaded, layer, trunk, keeping))
        kept.filling = False
        ordered = sorted(light, key=lambda i: min(layers_of(plan[i])))
        together = max(1, self.tokens // len(self.ids))
        for first in range(0, len(ordered), together):
            chunk = ordered[first : first + together]
            found |= zip(chunk, self._branches([plan[i] for i in chunk], trunk, ends, kept), strict=True)
        return found

    def _branches(
        self, plan: Sequence[Intervention], trunk: Residuals, ends: Sequence[Tensor], kept: Kept
    ) -> list[np.ndarray]:
        """Each intervention as one token behind the prompts."""
        around = around_branches(self.loaded, trunk, self.readout, len(plan), kept)
        added: list[Tensor] = []
        for layer in range(self.last + 1):
            rows = np.zeros((len(plan), trunk.shape[-1]), np.float32)
            for row, one in zip(rows, plan, strict=True):
                if isinstance(one, SteeringVectors) and layer in one.layers:
                    row += one.vectors[one.layers.index(layer)]
            added.append(sent(rows, trunk))
        starts = [min(layers_of(one)) for one in plan]
        x = run_branches(self.loaded, starts, added, ends, around, self.meter.tell)
        return list(x.to("cpu", torch.float32).transpose(0, 1).numpy())

    def _copies(self, plan: Sequence[Intervention], start: int, trunk: Residuals) -> list[np.ndarray]:
        """Each intervention as a run of its own from the layer `start`, where the trunk stands."""
        rows, whole = len(self.ids), torch.arange(self.ids.shape[1])[None]
        x, places = trunk.repeat(len(plan), 1, 1), whole
        for layer in range(start, self.last + 1):
            parts = zip(plan, x.split(rows), strict=True)
            x = torch.cat([act(self.loaded, one, layer, part, places, self.acting) for one, part in parts])
            if layer == self.last:
                break
            self.meter.tell(len(plan) * self.real)
            x = attend(self.loaded, layer, x, self.around)
            if layer == self.last - 1:  # the second half of a block looks at no other position
                x, places = self._at_readout(x), self.readout[:, None]
            x = proceed(self.loaded, layer, x)
        if start == self.last:
            x = self._at_readout(x)
        return [one[:, 0].numpy() for one in x.to("cpu", torch.float32).split(rows)]

    def _at_readout(self, x: Residuals) -> Float[Tensor, "copies 1 width"]:
        """The readout position of every row, of several copies of the batch one below the other."""
        at = self.readout.repeat(len(x) // len(self.readout)).to(x.device)
        return x[torch.arange(len(x), device=x.device), at][:, None]
