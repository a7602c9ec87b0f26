"""What config.json and the weight headers tell about a checkpoint without opening it. No torch."""

from __future__ import annotations

from typing import Any

from backend.checkpoints.families import default_architecture, family_of
from backend.checkpoints.files import CONFIG, Located, read_json, tensors
from backend.errors import CheckpointError
from backend.lab import Facts

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers")
_WIDTH = ("hidden_size", "n_embd", "dim")
_VOCABULARY = ("vocab_size",)
_POSITIONS = ("max_position_embeddings", "n_positions")
_LARGEST_RANK = 3  # old GPT-2 files carry their causal masks, four-dimensional, beside the weights


def read_facts(located: Located, place: str) -> Facts:
    """Architecture and sizes of a full checkpoint.

    Raises CheckpointError for an architecture that Layershift cannot take apart, a quantized checkpoint, or a config
    without sizes.
    """
    config = read_json(located.folder / CONFIG)
    if "quantization_config" in config:
        raise CheckpointError(f"{place} is quantized; point to the checkpoint with its plain weights.")
    architecture = architecture_of(config)
    family = family_of(architecture, place)
    answers = len(config.get("id2label") or ()) or 2  # two is what transformers leaves out
    return Facts(
        architecture=architecture,
        layers=_size(config, _LAYERS, place),
        width=_size(config, _WIDTH, place),
        vocabulary=_size(config, _VOCABULARY, place),
        parameters=sum(entry.size for entry in tensors(located) if len(entry.shape) <= _LARGEST_RANK),
        kind=family.kind,
        has_head=family.has_head,
        answers=answers if family.has_head and not family.predicts else None,
    )


def architecture_of(config: dict[str, Any]) -> str:
    """The class that the config names, or the usual one for its model type."""
    named = config.get("architectures") or [default_architecture(str(config.get("model_type")))]
    return str(named[0] or f"model of type {config.get('model_type')}")


def most_positions(located: Located) -> int | None:
    """How many tokens the model has position embeddings for; None where positions are computed."""
    config = read_json(located.folder / CONFIG)
    family = family_of(architecture_of(config), str(located.folder))
    if family.pos_embed is None:
        return None
    found = next((config[key] for key in _POSITIONS if key in config), None)
    return found - family.first_position if isinstance(found, int) else None


def padding(located: Located) -> int | None:
    """The token that the model takes for padding, if any."""
    found = read_json(located.folder / CONFIG).get("pad_token_id")
    return found if isinstance(found, int) else None


def _size(config: dict[str, Any], keys: tuple[str, ...], place: str) -> int:
    found = next((config[key] for key in keys if key in config), None)
    if not isinstance(found, int) or found < 1:
        raise CheckpointError(f"{place}: {CONFIG} has no usable {keys[0]}; save the checkpoint again.")
    return found
