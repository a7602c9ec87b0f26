"""How much every weight matrix changed, one matrix in memory at a time where the files allow it."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from backend.checkpoints.families import family_of
from backend.checkpoints.opening import Opened
from backend.lab import Progress, WeightChange


@torch.inference_mode()
def weight_changes(opened: Opened, reference: Opened, progress: Progress) -> tuple[WeightChange, ...]:
    """Change of every two-dimensional entry of the state dict that both have, fused as stored, tied ones once.

    A vocabulary that was extended is compared on the rows that both have.
    """
    family = family_of(type(opened.model).__name__, str(opened.model.config.name_or_path))
    within = re.compile(re.escape(family.blocks) + r"\.(\d+)\.(.+)")
    ours, theirs = _matrices(opened), _matrices(reference)
    shared = [name for name in ours if name in theirs]
    found: list[WeightChange] = []
    for i, name in enumerate(shared):
        progress(i / len(shared), f"Comparing {name}.")
        place = within.fullmatch(name)
        layer, matrix = (int(place[1]), place[2]) if place else (None, name)
        found.append(WeightChange(name, layer, matrix.removesuffix(".weight"), *_change(ours[name], theirs[name])))
    return tuple(found)


def _matrices(opened: Opened) -> dict[str, Tensor]:
    """Two-dimensional weights by name; a tensor that two names share is there under the first."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in opened.model.state_dict().items():
        if tensor.ndim == 2 and tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            found[name] = tensor
    return found


def _change(ours: Tensor, theirs: Tensor) -> tuple[float, float]:
    """Relative change and stable rank, in float64 sums; the spectral norm from the smaller Gram matrix."""
    rows = min(len(ours), len(theirs))
    before = theirs[:rows].to(torch.float64)
    change = ours[:rows].to(before.device, torch.float64) - before
    squared = float(change.square().sum())
    size = float(before.square().sum())
    relative = (squared / size) ** 0.5 if size > 0 else float("nan")
    if squared == 0:
        return relative, float("nan")
    gram = change.T @ change if change.shape[0] >= change.shape[1] else change @ change.T
    return relative, squared / float(torch.linalg.eigvalsh(gram)[-1])
