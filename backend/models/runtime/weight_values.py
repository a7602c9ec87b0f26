"""Scan the stored weights of a checkpoint: whether they are finite, which are all zero, and the largest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from safetensors import safe_open

from backend.errors import CheckpointError
from backend.models.architectures import family_of
from backend.models.files.locate import Located
from backend.models.files.tensor_names import plain_names

_LARGEST_RANK = 3  # old GPT-2 files carry their causal masks, four-dimensional, beside the weights
_MATRIX = 2


@dataclass(frozen=True)
class Largest:
    """The largest absolute value of all weights, and the name of its tensor in the file."""

    value: float
    name: str


def check_values(located: Located) -> Largest:
    """Return the largest weight. Reads every file once. Raises CheckpointError for a weight that is not finite."""
    found = Largest(0.0, "")
    for name, value in _weights(located):
        found = max(found, Largest(_size(located, name, value), name), key=lambda one: one.value)
    return found


def check_model(located: Located, architecture: str) -> Largest:
    """Return the largest weight of a whole model, read once.

    Raises CheckpointError for a weight that is not finite, and for an embedding, a head or all matrices of zeros only.
    """
    found, matrices, zeros = Largest(0.0, ""), 0, []
    for name, value in _weights(located):
        size = _size(located, name, value)
        found = max(found, Largest(size, name), key=lambda one: one.value)
        matrices += value.ndim == _MATRIX
        zeros += [name] if value.ndim == _MATRIX and size == 0 else []
    family = family_of(architecture, str(located.folder))
    plain = plain_names(zeros)
    ends = {f"{path}.weight" for path in (family.embed, family.unembed) if path}
    ends |= {name.removeprefix(f"{family.body}.") for name in ends if family.body}
    empty = next(
        (name for name in zeros if plain[name] in ends), zeros[0] if zeros and len(zeros) == matrices else None
    )
    if empty is not None:
        raise CheckpointError(
            f"{located.folder} holds only zeros in {empty}, so it reads or answers every text alike; save or copy the "
            f"checkpoint again."
        )
    return found


def _weights(located: Located) -> Iterator[tuple[str, torch.Tensor]]:
    for file in located.weights:
        with safe_open(file, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 (no mapping)
                value: torch.Tensor = stored.get_tensor(name)
                if value.is_floating_point() and 0 < value.ndim <= _LARGEST_RANK and value.numel():
                    yield name, value


def _size(located: Located, name: str, value: torch.Tensor) -> float:
    """Return the largest absolute value of a weight. Raises CheckpointError if one is not finite."""
    ends = torch.stack(torch.aminmax(value)).float()  # one pass, and NaN is the least and largest of all
    if not torch.isfinite(ends).all():
        raise CheckpointError(
            f"{located.folder} holds values that are not finite ({name}); its training diverged or the save is "
            f"damaged, so name another checkpoint."
        )
    return float(ends.abs().max())
