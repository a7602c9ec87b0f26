"""How transformers is asked for a checkpoint, and what its report means: for opening models and for checking files."""

from __future__ import annotations

import re
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from backend.errors import CheckpointError
from backend.models.architectures import FAMILIES
from backend.models.files.adapters import Adapter, some
from backend.models.files.configs import read_config
from backend.models.files.heads import head_rows
from backend.models.files.locate import CONFIG, Located
from backend.models.files.tensor_names import model_tensors, renamed
from backend.models.runtime.merge_adapter import check_brought

_POOLED = ("BertModel", "RobertaModel")


def load(
    located: Located,
    architecture: str,
    dtype: str,
    state: dict[str, torch.Tensor] | None = None,
    change: Adapter | None = None,
    **options: Any,
) -> PreTrainedModel:
    """The model of a full checkpoint with every weight from its files, or from `state`, under the names of the files.

    What it lacks may be in the adapter that is about to `change` it. Raises CheckpointError when a weight is missing,
    of another shape, or nowhere in the model.
    """
    kind = getattr(transformers, architecture)
    config, entries = read_config(located, str(located.folder)), model_tensors(located)
    if not config.keys() & {"id2label", "num_labels"} and (rows := head_rows(architecture, entries)):
        config["num_labels"] = rows
    if change is not None and change.answers is not None:
        config = {key: value for key, value in config.items() if key not in ("id2label", "label2id")}
        config["num_labels"] = change.answers
    if architecture in _POOLED and not any("pooler." in entry.name for entry in entries):
        options["add_pooling_layer"] = False  # it would be random, and only a head would read it
    model, report = kind.from_pretrained(
        located.folder if state is None else None,
        config=kind.config_class.from_dict(config),
        state_dict=state,
        dtype=getattr(torch, dtype),
        key_mapping={f"^{re.escape(stored)}$": name for stored, name in renamed(located).items()} or None,
        attn_implementation="sdpa",
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # reported below, in one sentence
        **options,
    )
    _refuse(located, model, report, change)
    return model


def _refuse(located: Located, model: PreTrainedModel, report: dict[str, Any], change: Adapter | None) -> None:
    """CheckpointError with the first of what transformers reports that changes what the model computes."""
    brought = frozenset() if change is None else change.whole
    family, name = FAMILIES[type(model).__name__], type(model).__name__
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
    for key, stored, wanted in sorted(one for one in report["mismatched_keys"] if one[0] not in brought):
        raise _mismatch(located, key, tuple(stored), tuple(wanted), family.embed)
    if missing and all(key.startswith(head) for key in missing):
        raise CheckpointError(
            f"{located.folder} lacks the head of a {name} ({some(missing)}); save the whole model, head included, "
            f"with save_pretrained."
        )
    if missing:
        others = f" and holds others ({some(foreign)})" if foreign else ""
        raise CheckpointError(
            f"{located.folder} lacks weights that a {name} reads ({some(missing)}){others}; save the whole model, "
            f"head included, with save_pretrained."
        )
    if foreign:
        raise CheckpointError(
            f"{located.folder} holds weights that a {name} of the size in {CONFIG} does not read "
            f"({some(foreign)}); copy the {CONFIG} that was saved with the weights."
        )


def _mismatch(
    located: Located, key: str, stored: tuple[int, ...], wanted: tuple[int, ...], embed: str
) -> CheckpointError:
    here, there = (" x ".join(map(str, shape)) for shape in (stored, wanted))
    if key == f"{embed}.weight" and stored[1:] == wanted[1:]:
        return CheckpointError(
            f"{located.folder} has an embedding of {stored[0]} tokens ({key}) and {CONFIG} says vocab_size = "
            f"{wanted[0]}; copy the {CONFIG} that was saved with the weights."
        )
    return CheckpointError(
        f"{located.folder} has {key} of shape {here} and {CONFIG} says {there}; copy the {CONFIG} that was saved with "
        f"the weights."
    )
