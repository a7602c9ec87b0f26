"""Compare two results of a model up to the rounding of its dtype."""

from __future__ import annotations

import torch
from torch import Tensor

from backend.models.runtime.load import LoadedModel

_SLACK = {torch.float32: 1e-3, torch.float64: 1e-6}
_HALF_SLACK = 0.05


def equal(loaded: LoadedModel, ours: Tensor, theirs: Tensor, change: Tensor) -> bool:
    """Return whether two results are equal up to rounding, judged by the size of a change at each position."""
    finite = theirs.isfinite().all(-1)
    dtype = loaded.model.dtype
    slack, eps = _SLACK.get(dtype, _HALF_SLACK), torch.finfo(dtype).eps
    error, size, whole = (x[finite].float().norm(dim=-1) for x in (ours - theirs, change, theirs))
    return bool((error <= slack * size + 8 * eps * whole).all())
