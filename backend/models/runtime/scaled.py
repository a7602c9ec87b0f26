"""A private model at reference + alpha (checkpoint - reference), part by part; the two lent models never change.

The private model shares every weight with the lent ones. A scaled part gets tensors of its own, in slots of the private
model's modules, which are dropped when the part is scaled again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import torch
from torch import Tensor, nn

from backend.errors import CheckpointError, UnsupportedError
from backend.models.runtime.calls import is_offloaded
from backend.models.runtime.load import LoadedModel
from backend.study.facts import body_of

Place = int | Literal["embed", "final_norm", "head"]
"""A block, or one of the parts outside the blocks."""


@dataclass(frozen=True, eq=False)
class Slot:
    """Where the private model holds a weight, and the weight in both models; one that the reference lacks is fixed."""

    module: nn.Module
    name: str
    is_buffer: bool
    before: Tensor
    after: Tensor

    def fill(self, alpha: float) -> None:
        """Put reference + alpha (checkpoint - reference) into the slot."""
        value = _between(self.before, self.after, alpha)
        if self.is_buffer:
            self.module._buffers[self.name] = value
        else:
            self.module._parameters[self.name] = nn.Parameter(value, requires_grad=False)


class ScaledModel:
    """The private model, `loaded`; everything is the reference's until it is scaled.

    If only the checkpoint has a head, its head reads every scaled model. Raises CheckpointError for models of different
    kinds or sizes, without a head, or with weights outside the device.
    """

    def __init__(self, reference: LoadedModel, checkpoint: LoadedModel) -> None:
        _check(reference, checkpoint)
        like = reference if reference.components.family.has_head else checkpoint
        self.loaded = _shell(like)
        weights = [dict(_named(one)) for one in (reference, checkpoint)]
        place = _places(self.loaded)
        self.slots: dict[Place, list[Slot]] = {}
        for name, module, key, is_buffer in _slots(self.loaded):
            inside = _in_body(self.loaded, name)
            own = module._buffers[key] if is_buffer else module._parameters[key]
            after = weights[1].get(inside, own)
            fixed = place(name) == "head" and like is not reference
            before = after if fixed else weights[0].get(inside, own)
            if own is not None and before is not None and after is not None:
                slot = Slot(module, key, is_buffer, before, after)
                slot.fill(0.0)
                if before is not after and not (is_buffer and torch.equal(before, after)):
                    self.slots.setdefault(place(name), []).append(slot)

    def scale(self, place: Place, alpha: float) -> None:
        """Put one part of the private model at reference + alpha (checkpoint - reference)."""
        for slot in self.slots.get(place, ()):
            slot.fill(alpha)


def _check(reference: LoadedModel, checkpoint: LoadedModel) -> None:
    pair = (reference, checkpoint)
    names = [str(one.model.config.name_or_path) for one in pair]
    layouts = [
        (body_of(type(one.model).__name__), len(one.components.blocks), one.model.config.hidden_size) for one in pair
    ]
    if layouts[0] != layouts[1]:
        raise CheckpointError(f"{names[0]} and {names[1]} differ in kind or size; scale the change of one base.")
    if not any(one.components.family.has_head for one in pair):
        raise CheckpointError(f"{names[0]} and {names[1]} have no head, so nothing can be read; add one with a head.")
    for one, name in zip(pair, names, strict=True):
        if is_offloaded(one):
            raise UnsupportedError(f"{name} is spread over devices, so its weights cannot be scaled; unset device_map.")


def _shell(loaded: LoadedModel) -> LoadedModel:
    """Return a model with modules of its own on the same weights."""
    shared = [*loaded.model.parameters(), *loaded.model.buffers(), loaded.model.config]
    shared += [loaded.components.family, loaded.components.transform, loaded.checked]
    return copy.deepcopy(loaded, {id(one): one for one in shared})  # the memo: what it names is not copied


def _slots(loaded: LoadedModel) -> Iterator[tuple[str, nn.Module, str, bool]]:
    """Yield the name, module, key and kind of every weight and every floating-point buffer, tied ones once per name."""
    for path, module in loaded.model.named_modules():
        prefix = f"{path}." if path else ""
        yield from ((prefix + key, module, key, False) for key in module._parameters)
        for key, buffer in module._buffers.items():
            if buffer is not None and buffer.is_floating_point() and key not in module._non_persistent_buffers_set:
                yield prefix + key, module, key, True


def _named(loaded: LoadedModel) -> Iterator[tuple[str, Tensor]]:
    """Yield every weight and buffer by its name inside the body, tied ones once per name."""
    model = loaded.model
    for name, tensor in chain(
        model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False)
    ):
        yield _in_body(loaded, name), tensor


def _in_body(loaded: LoadedModel, name: str) -> str:
    """Return the name inside the body, which is the same with and without a head."""
    return name.removeprefix(f"{loaded.components.family.body}.")


def _places(loaded: LoadedModel) -> Callable[[str], Place]:
    """Return a function from the name of a weight to the part of the model that it belongs to."""
    components = loaded.components
    names = {id(module): name for name, module in loaded.model.named_modules()}
    blocks = {names[id(block.whole)]: i for i, block in enumerate(components.blocks)}
    norm, head = (names.get(id(module)) for module in (components.ln_final, components.unembed))

    def place(name: str) -> Place:
        parts = name.split(".")
        inside = [path for end in range(len(parts)) if (path := ".".join(parts[:end])) in blocks]
        if inside:
            return blocks[inside[0]]
        if norm is not None and name.startswith(f"{norm}."):
            return "final_norm"
        if components.family.kind == "causal":
            return "head" if head is not None and name.startswith(f"{head}.") else "embed"
        return "embed" if "embedding" in _in_body(loaded, name) else "head"

    return place


def _between(before: Tensor, after: Tensor, alpha: float) -> Tensor:
    """Return before + alpha (after - before), in float32; rows that only one of both has stay the reference's."""
    if alpha == 0 or before is after:
        return before.detach()
    if before.shape != after.shape:
        if before.shape[1:] != after.shape[1:]:
            raise CheckpointError(
                f"A weight is {tuple(before.shape)} in one model and {tuple(after.shape)} in the other, so the change "
                f"cannot be scaled; choose checkpoints of one architecture."
            )
        rows, whole = min(len(before), len(after)), before.detach().clone()
        whole[:rows] = _between(before[:rows], after[:rows], alpha)
        return whole
    if alpha == 1:
        return after.detach().to(before.device)
    return torch.lerp(before.float(), after.to(before.device).float(), alpha).to(before.dtype)
