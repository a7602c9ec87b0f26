"""Measure how much every weight matrix changed, one pair of matrices at a time."""

from __future__ import annotations

import re

import torch
from accelerate.utils.modeling import align_module_device
from torch import Tensor, nn

from backend.caching.progress import Progress
from backend.errors import CheckpointError
from backend.lab.outputs import WeightChange
from backend.models.runtime.load import LoadedModel


@torch.inference_mode()
def weight_changes(loaded: LoadedModel, reference: LoadedModel, progress: Progress) -> tuple[WeightChange, ...]:
    """Return the change of every weight of both models: fused ones as stored, tied ones once, vectors marked.

    A stack of experts is one block-diagonal matrix: its spectral norm is the largest of its experts'.
    An extended vocabulary is compared on the rows that both have. Raises CheckpointError for other differences in
    shape, and for values that are not finite.
    """
    within = re.compile(re.escape(loaded.components.family.blocks) + r"\.(\d+)\.(.+)")
    ours, theirs = _identities(loaded), _identities(reference)
    in_body = {_in_body(reference, name): name for name in theirs}
    names: dict[tuple[int | str, int | str], tuple[str, str]] = {}
    for name in ours:
        other = in_body.get(_in_body(loaded, name))
        if other is not None:
            names.setdefault((ours[name], theirs[other]), (name, other))
    changes: list[WeightChange] = []
    for i, (name, other) in enumerate(names.values()):
        progress(i / len(names), f"Comparing {name}.")
        place = within.fullmatch(name)
        layer, matrix = (int(place[1]), place[2]) if place else (None, name)
        after, before = _matrix(loaded, name), _matrix(reference, other)
        change = _change(name, _columns(after), _columns(before), resized=layer is None)
        changes.append(WeightChange(name, layer, matrix, *change, vector=after.ndim == 1))
    return tuple(changes)


def _in_body(loaded: LoadedModel, name: str) -> str:
    """Return the name inside the body, which is the same with and without a head."""
    return name.removeprefix(f"{loaded.components.family.body}.")


def _identities(loaded: LoadedModel) -> dict[str, int | str]:
    """Return an identity for each weight, equal for all names of one tensor.

    It is the tensor's address, or for an offloaded tensor the name that transformers ties it to.
    """
    tied = loaded.model.all_tied_weights_keys
    weights = {name: tensor for name, tensor in loaded.model.state_dict().items() if tensor.is_floating_point()}
    return {name: tensor.data_ptr() or tied.get(name, name) for name, tensor in weights.items() if tensor.ndim > 0}


def _matrix(loaded: LoadedModel, name: str) -> Tensor:
    """Return one weight, loaded from where `device_map` moved it."""
    path, _, last = name.rpartition(".")
    module = loaded.model.get_submodule(path)
    with align_module_device(module):
        weight = getattr(module, last).detach()
    return weight.flatten(1) if isinstance(module, nn.Conv1d) and weight.ndim > 1 else weight


def _columns(weight: Tensor) -> Tensor:
    """Return a vector as a matrix of one column."""
    return weight[:, None] if weight.ndim == 1 else weight


def _change(name: str, ours: Tensor, theirs: Tensor, resized: bool) -> tuple[float, float]:
    """Return relative change and stable rank of a matrix or a stack; spectral norms come from the smaller Gram matrix.

    Computes in float32 with norms summed in float64, whatever the dtype of the weights.
    """
    if ours.shape != theirs.shape and not (resized and ours.shape[1:] == theirs.shape[1:]):
        raise CheckpointError(
            f"{name} is {_size(ours)} in one checkpoint and {_size(theirs)} in the other; compare checkpoints of the "
            f"same architecture."
        )
    rows = min(len(ours), len(theirs))
    device = theirs.device if theirs.device.type == "cuda" else torch.device("cpu")  # MPS has no eigenvalues
    before = theirs[:rows].to(device, torch.float32)
    change = ours[:rows].to(device, torch.float32) - before
    moved, size = (float(torch.linalg.vector_norm(matrix, dtype=torch.float64)) for matrix in (change, before))
    if not (moved < float("inf") and size < float("inf")):
        raise CheckpointError(f"{name} holds values that are not finite; save or train the checkpoint again.")
    relative = moved / size if size > 0 else float("nan")
    if moved == 0:
        return relative, float("nan")
    change /= moved
    gram = change.mT @ change if change.shape[-2] >= change.shape[-1] else change @ change.mT
    return relative, 1 / float(torch.linalg.eigvalsh(gram)[..., -1].max())


def _size(matrix: Tensor) -> str:
    return " x ".join(map(str, matrix.shape))
