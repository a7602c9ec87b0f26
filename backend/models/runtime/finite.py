"""Whether every stored weight is a number."""

from __future__ import annotations

import torch
from safetensors import safe_open

from backend.errors import CheckpointError
from backend.models.files.locate import Located

_LARGEST_RANK = 3  # old GPT-2 files carry their causal masks, four-dimensional, beside the weights


def check_finite(located: Located) -> None:
    """Raise CheckpointError for a weight that is not finite. Reads every file once."""
    for file in located.weights:
        with safe_open(file, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 (no mapping)
                value: torch.Tensor = stored.get_tensor(name)
                if not value.is_floating_point() or not 0 < value.ndim <= _LARGEST_RANK or not value.numel():
                    continue
                ends = torch.stack(torch.aminmax(value))  # one pass, and NaN is the least and largest of all
                if not torch.isfinite(ends).all():
                    raise CheckpointError(
                        f"{file} holds values that are not finite ({name}); its training diverged or the save is "
                        f"damaged, so name another checkpoint."
                    )
