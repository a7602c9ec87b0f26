"""Whether a full checkpoint could be opened, by the headers of its files: the model is made without any values."""

from __future__ import annotations

import torch
from safetensors import safe_open

from backend.models.files.locate import Located, tensors
from backend.models.runtime.components import anatomy_of
from backend.models.runtime.from_pretrained import load
from backend.models.runtime.load import in_one_sentence, quiet

_META = torch.device("meta")


def check_structure(located: Located, architecture: str) -> None:
    """Hold the stored names and shapes against the architecture, with the code that opens models.

    Reads headers only. Raises CheckpointError, in the words of `open_model`.
    """
    stored = {entry.name: torch.empty(entry.shape, device=_META) for entry in tensors(located)}
    with quiet(), in_one_sentence(located, _META):
        for file in located.weights:
            with safe_open(file, framework="numpy"):  # stricter than our own reading: no gap, no byte too many
                pass
        anatomy_of(load(located, architecture, "float32", stored, device_map={"": _META}))
