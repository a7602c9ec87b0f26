"""Read a model's token embeddings: the input embedding, and the unembedding that scores the next token."""

from __future__ import annotations

import numpy as np
import torch
from accelerate.utils.modeling import align_module_device
from torch import nn

from backend.errors import UndefinedError
from backend.lab.outputs import Embedding, Matrix
from backend.models.runtime.forward import hand_over
from backend.models.runtime.load import LoadedModel


@torch.inference_mode()
def embedding(loaded: LoadedModel, which: Matrix) -> Embedding:
    """Copy one row per token id out of the model.

    Raises UndefinedError for the unembedding of a model that predicts no tokens, such as a text classifier, and
    CheckpointError when a value is not finite.
    """
    module = loaded.components.embed if which == "input" else loaded.model.get_output_embeddings()
    if not isinstance(module, nn.Module):
        raise UndefinedError(
            f"{loaded.model.config.name_or_path} predicts no tokens, so it has no unembedding; choose its input "
            f"embedding."
        )
    with align_module_device(module):  # loaded from where device_map moved it
        rows = np.array(_weight(module).detach().to("cpu", torch.float32).numpy())
    hand_over(loaded, rows)
    return Embedding(rows, _tied(loaded))


def _weight(module: nn.Module) -> torch.Tensor:
    return module.weight  # pyright: ignore[reportReturnType] (both are a Linear or an Embedding)


def _tied(loaded: LoadedModel) -> bool:
    """Return whether both are one tensor, by address, or by the config if offloaded. True without an unembedding."""
    output = loaded.model.get_output_embeddings()
    if not isinstance(output, nn.Module):
        return True
    ours, theirs = _weight(loaded.components.embed), _weight(output)
    if ours.is_meta or theirs.is_meta:
        return bool(loaded.model.config.tie_word_embeddings)
    return ours.data_ptr() == theirs.data_ptr()
