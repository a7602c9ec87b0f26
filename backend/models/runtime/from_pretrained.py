"""Load a checkpoint with transformers and turn its loading report into errors; also used to check files."""

from __future__ import annotations

import inspect
import re
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from backend.errors import CheckpointError
from backend.models.architectures import family_of
from backend.models.files.adapters import Adapter, some
from backend.models.files.configs import read_config
from backend.models.files.heads import head_rows
from backend.models.files.locate import CONFIG, Located
from backend.models.files.tensor_names import model_tensors, renamed
from backend.models.runtime.merge_adapter import check_brought


def load(
    located: Located,
    architecture: str,
    dtype: str,
    state: dict[str, torch.Tensor] | None = None,
    change: Adapter | None = None,
    **options: Any,
) -> PreTrainedModel:
    """Load a full checkpoint with every weight from its files, or from `state` under the names of the files.

    Missing weights may come from the adapter that will `change` the model. Raises CheckpointError when a weight is
    missing, has another shape, or belongs nowhere in the model.
    """
    kind = getattr(transformers, architecture)
    config, entries = read_config(located, str(located.folder)), model_tensors(located)
    if not config.keys() & {"id2label", "num_labels"} and (rows := head_rows(architecture, entries)):
        config["num_labels"] = rows
    if change is not None and change.answers is not None:
        config = {key: value for key, value in config.items() if key not in ("id2label", "label2id")}
        config["num_labels"] = change.answers
    pools = "add_pooling_layer" in inspect.signature(kind).parameters
    if pools and not any("pooler." in entry.name for entry in entries):
        options["add_pooling_layer"] = False  # the pooler would be random, and only a head would read it
    built = kind.config_class.from_dict(config)
    model, report = kind.from_pretrained(
        located.folder if state is None else None,
        config=built,
        state_dict=state,
        dtype=getattr(torch, dtype),
        key_mapping={f"^{re.escape(stored)}$": name for stored, name in renamed(located).items()} or None,
        attn_implementation=_attention(kind, built),
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # reported below, in one sentence
        **options,
    )
    _refuse(located, model, report, change)
    return model


def _attention(kind: Any, config: Any) -> str:
    """Return the fastest attention that computes what the model was trained with; few cap their attention scores."""
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    return "sdpa" if getattr(kind, "_supports_sdpa", False) and not capped else "eager"


def _refuse(located: Located, model: PreTrainedModel, report: dict[str, Any], change: Adapter | None) -> None:
    """Raise CheckpointError for the first report of transformers that changes what the model computes."""
    brought = frozenset() if change is None else change.whole
    name = type(model).__name__
    family = family_of(name, str(located.folder))
    head = f"{(family.unembed or '').partition('.')[0]}."
    missing = sorted(set(report["missing_keys"]) - brought)
    if missing and change is not None:
        check_brought(missing, change)
    foreign = sorted(key for key in report["unexpected_keys"] if key.startswith((f"{family.blocks}.", head)))
    raw = [key for key in foreign if ".lora_" in key or ".base_layer." in key]
    if raw:
        raise CheckpointError(
            f"{located.folder} holds an adapter that is not merged ({some(raw)}); save the model after "
            f"merge_and_unload, or name the folder with adapter_config.json."
        )
    for key, stored, expected in sorted(
        mismatch for mismatch in report["mismatched_keys"] if mismatch[0] not in brought
    ):
        raise _mismatch(located, key, tuple(stored), tuple(expected), family.embed)
    if missing and all(key.startswith(head) for key in missing):
        raise CheckpointError(
            f"{located.folder} lacks the head of a {name} ({some(missing)}); save the whole model, including its head, "
            f"with save_pretrained."
        )
    if missing:
        others = f" and holds others ({some(foreign)})" if foreign else ""
        raise CheckpointError(
            f"{located.folder} lacks weights that a {name} reads ({some(missing)}){others}; save the whole model, "
            f"including its head, with save_pretrained."
        )
    if foreign:
        raise CheckpointError(
            f"{located.folder} holds weights that a {name} of the size in {CONFIG} does not read "
            f"({some(foreign)}); copy the {CONFIG} that was saved with the weights."
        )


def _mismatch(
    located: Located, key: str, stored: tuple[int, ...], expected: tuple[int, ...], embed: str
) -> CheckpointError:
    stored_shape, config_shape = (" x ".join(map(str, shape)) for shape in (stored, expected))
    if key == f"{embed}.weight" and stored[1:] == expected[1:]:
        return CheckpointError(
            f"{located.folder} has an embedding of {stored[0]} tokens ({key}) and {CONFIG} says vocab_size = "
            f"{expected[0]}; copy the {CONFIG} that was saved with the weights."
        )
    return CheckpointError(
        f"{located.folder} has {key} of shape {stored_shape} and {CONFIG} says {config_shape}; copy the {CONFIG} that "
        f"was saved with the weights."
    )
