"""Check from the headers of its files that a full checkpoint can be opened: the model is built without values."""

from __future__ import annotations

import torch

from backend.models.files.locate import Located, tensors
from backend.models.runtime.components import anatomy_of
from backend.models.runtime.from_pretrained import load
from backend.models.runtime.load import in_one_sentence, quiet

_META = torch.device("meta")


def check_structure(located: Located, architecture: str) -> None:
    """Compare the stored names and shapes with the architecture, using the code that opens models.

    Reads headers only. Raises the same CheckpointError as `open_model`.
    """
    stored = {entry.name: torch.empty(entry.shape, device=_META) for entry in tensors(located)}
    with quiet(), in_one_sentence(located, _META):
        anatomy_of(load(located, architecture, "float32", stored, device_map={"": _META}))
