"""Read a checkpoint's architecture and sizes from config.json and the weight headers, without torch."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import Any

from backend.errors import CheckpointError
from backend.models.architectures import family_of
from backend.models.files.configs import read_config, refuse_quantized
from backend.models.files.heads import CLASSIFIER, answers_of, architecture_of, head_names, head_rows
from backend.models.files.locate import CONFIG, Located, read_json
from backend.models.files.safetensors_headers import Entry
from backend.models.files.settled import State, settled
from backend.models.files.tensor_names import model_tensors
from backend.study.facts import Facts

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_WIDTH = ("hidden_size", "n_embd", "dim", "d_model")
_VOCABULARY = ("vocab_size",)
_POSITIONS = ("max_position_embeddings", "n_positions")
POSITION_TABLE = re.compile(r"\D*\b(wpe|embed_positions|position_embeddings|positions_embed)\.weight")
_ANGLES = {"gptj", "codegen"}  # rotary angles from a table of max_position_embeddings rows
_HALVES = {"F16": "float16", "BF16": "bfloat16"}
_ORIGINAL = "original_max_position_embeddings"
_UNSTEADY = ("dynamic", "longrope", "su")
_LARGEST_RANK = 3  # old GPT-2 files also hold their causal masks, which are four-dimensional


def read_facts(located: Located, place: str) -> Facts:
    """Read architecture and sizes of a full checkpoint.

    Raises CheckpointError for an unsupported architecture, a quantized checkpoint, tensors without values, a config
    without sizes, or one that contradicts the stored head.
    """
    state = settled((located.folder / CONFIG, *located.weights))
    return _read(located, place) if state is None else _remembered(located, place, state)


@lru_cache(maxsize=256)
def _remembered(located: Located, place: str, _state: State) -> Facts:
    return _read(located, place)


def _read(located: Located, place: str) -> Facts:
    config, entries = read_config(located, place), model_tensors(located)
    architecture = architecture_of(config, entries, place)
    family = family_of(architecture, place)
    refuse_quantized(entries, place)
    _refuse_empty(entries, place)
    if family.kind == "encoder":
        _refuse_decoder(config, place)
    classifies = architecture.endswith(CLASSIFIER)
    limits = [limit for limit in (most_positions(located), steady_positions(located)) if limit is not None]
    return Facts(
        architecture=architecture,
        layers=_size(config, _LAYERS, place),
        width=_size(config, _WIDTH, place),
        vocabulary=_size(config, _VOCABULARY, place),
        parameters=sum(entry.size for entry in entries if len(entry.shape) <= _LARGEST_RANK),
        kind=family.kind,
        has_head=family.has_head,
        answers=answers_of(config, head_rows(architecture, entries), place) if classifies else None,
        head_names=head_names(config, place) if classifies else (),
        token_types=_token_types(config) if family.kind == "encoder" else 1,
        stored=_stored(entries),
        longest=min(limits, default=None),
        readable=_readable(config),
    )


def _readable(config: dict[str, Any]) -> int | None:
    """Return how many tokens have per-layer embeddings (Gemma 4) where these are fewer than the vocabulary."""
    tokens = config.get("vocab_size_per_layer_input") if config.get("hidden_size_per_layer_input") else None
    return tokens if isinstance(tokens, int) and tokens < config.get("vocab_size", 0) else None


def _stored(entries: tuple[Entry, ...]) -> str:
    """Return the dtype of most weights; float32 for a wider one."""
    sizes: Counter[str] = Counter()
    for entry in entries:
        sizes[entry.dtype] += entry.size
    return _HALVES.get(sizes.most_common(1)[0][0], "float32") if sizes else "float32"


def _token_types(config: dict[str, Any]) -> int:
    token_types = config.get("type_vocab_size")
    return token_types if isinstance(token_types, int) and token_types > 1 else 1


def most_positions(located: Located) -> int | None:
    """Return the number of position embeddings; None if positions are computed."""
    place = str(located.folder)
    config, entries = read_config(located, place), model_tensors(located)
    family = family_of(architecture_of(config, entries, place), place)
    rows = next((entry.shape[0] for entry in entries if entry.shape and POSITION_TABLE.fullmatch(entry.name)), None)
    positions = next((config[key] for key in _POSITIONS if key in config), rows)
    if not isinstance(positions, int) or (rows is None and family.model_type not in _ANGLES):
        return None
    return positions - family.first_position


def steady_positions(located: Located) -> int | None:
    """Return the length up to which rotary angles depend on the position alone; None if they always do.

    Beyond it `dynamic` angles depend on the longest prompt read so far, and `longrope` angles on the longest of the
    batch (transformers, modeling_rope_utils.py). A prompt's numbers would then depend on the other prompts.
    """
    config = read_json(located.folder / CONFIG)
    limits: list[int] = []
    for key in ("rope_parameters", "rope_scaling"):
        rope = config.get(key)
        for settings in (rope, *rope.values()) if isinstance(rope, dict) else ():  # several where layers differ
            if isinstance(settings, dict) and settings.get("rope_type", settings.get("type")) in _UNSTEADY:
                given = (settings.get(_ORIGINAL), config.get(_ORIGINAL), config.get(_POSITIONS[0]))
                limits += [value for value in given if isinstance(value, int)]
    return min(limits, default=None)


def padding(located: Located) -> int | None:
    """Return the model's padding token, or None."""
    token = read_json(located.folder / CONFIG).get("pad_token_id")
    return token if isinstance(token, int) else None


def _refuse_empty(entries: tuple[Entry, ...], place: str) -> None:
    """Raise CheckpointError for tensors stored without values, as DeepSpeed's ZeRO-3 saves them."""
    empty = [entry.name for entry in entries if entry.size == 0]
    if empty:
        raise CheckpointError(
            f"{place} holds {len(empty)} tensors without values (first: {empty[0]}), as DeepSpeed ZeRO-3 saves them; "
            f"gather the weights with zero_to_fp32.py, or save with stage3_gather_16bit_weights_on_model_save."
        )


def _refuse_decoder(config: dict[str, Any], place: str) -> None:
    """Raise CheckpointError for an encoder that the config turns into a decoder, which masks later tokens."""
    key = next((key for key in ("is_decoder", "add_cross_attention") if config.get(key)), None)
    if key is not None:
        raise CheckpointError(
            f"{place}: {CONFIG} has {key} = true, with which an encoder reads earlier tokens only; set it to false if "
            f"the model was trained as an encoder, or name another checkpoint."
        )


def _size(config: dict[str, Any], keys: tuple[str, ...], place: str) -> int:
    size = next((config[key] for key in keys if key in config), None)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise CheckpointError(f"{place}: {CONFIG} has no usable {keys[0]}; save the checkpoint again.")
    return size
