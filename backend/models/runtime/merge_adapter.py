"""Merge a PEFT adapter onto its base, and check that the merged weights are the trained ones."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from backend.errors import CheckpointError, DeviceError
from backend.models.architectures import family_of
from backend.models.files.adapters import PREFIX, Adapter, some
from backend.models.files.locate import Located, tensors
from backend.models.runtime.devices import is_out_of_memory
from backend.models.runtime.residual_base import check_base
from backend.models.runtime.weight_values import check_values

_FAILURES = (ValueError, RuntimeError, KeyError, TypeError, AttributeError, AssertionError, IndexError, ImportError)
_NEEDS_VALUES = ("meta tensor", "meta device", "register_meta", "on the meta")
_FILE = "adapter_model.safetensors"


def merge(model: PreTrainedModel, adapter: Adapter) -> PreTrainedModel:
    """Return the base with the adapter's change added to its weights. Raises CheckpointError."""
    wrapped = attach(model, adapter)
    with _quietly(), _explained(adapter):
        _untie(model)
        return wrapped.base_model.merge_and_unload(safe_merge=True)  # pyright: ignore[reportCallIssue]


def attach(model: PreTrainedModel, adapter: Adapter) -> Any:
    """Return PEFT's model of the base with the adapter beside its weights, unmerged. Raises CheckpointError."""
    check_values(adapter.located)
    with _quietly(), _explained(adapter):
        wrapped = _wrapped(model, adapter)
        with _as_peft_names_it(adapter) as folder:
            wrapped.load_adapter(str(folder), "default", torch_device="cpu", autocast_adapter_dtype=False)
    return wrapped


def verdict_on(adapter: Adapter, base: Located) -> str:
    """Return a sentence that says why the adapter cannot be merged onto its base; empty if it can.

    Only the adapter's values are read. The few methods that need the base's values are merged for real.
    """
    try:
        check_values(adapter.located)
        check_base(adapter, base)
        model = _unfilled(adapter, base)
        with _quietly(), _explained(adapter):
            wrapped = _wrapped(model, adapter, unfilled=True)
            _untie(model)
            wrapped.base_model.merge_and_unload(safe_merge=False)  # pyright: ignore[reportCallIssue]
    except _NeedsValues:
        return _merged_for_real(adapter, base)
    except CheckpointError as error:
        return str(error)
    return ""


class _NeedsValues(Exception):
    """The method cannot be merged without the base's values."""


def _merged_for_real(adapter: Adapter, base: Located) -> str:
    from backend.models.runtime.load import open_model  # which imports this module

    try:
        open_model(base, adapter.located, adapter.architecture, torch.device("cpu"), "float32", None)
    except (CheckpointError, DeviceError) as error:
        return str(error)
    return ""


def _unfilled(adapter: Adapter, base: Located) -> PreTrainedModel:
    """Return the base's model without values. Raises CheckpointError for a weight that is in neither file."""
    from backend.models.runtime.from_pretrained import load  # which imports this module

    stored = {entry.name: torch.empty(entry.shape, device="meta") for entry in tensors(base)}
    with _quietly():
        return load(base, adapter.architecture, "float32", stored, adapter, device_map={"": torch.device("meta")})


def check_brought(missing: list[str], adapter: Adapter) -> None:
    """Raise CheckpointError if both base and adapter lack weights of the head, which would otherwise be random."""
    lacking = [name for name in missing if name not in adapter.whole]
    if lacking and adapter.answers is not None:
        raise CheckpointError(
            f"{adapter.located.folder} lacks weights of the head that it was trained with ({some(lacking)}), and its "
            f"base has none; train it with them in modules_to_save."
        )


def _wrapped(model: PreTrainedModel, adapter: Adapter, unfilled: bool = False) -> Any:
    """Return the base in PEFT's wrapper, after comparing names and shapes of the adapter's file with the wrapper's."""
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict  # slow to import, and only for adapters

    config = PeftConfig.from_pretrained(str(adapter.located.folder))
    config.inference_mode = True
    if getattr(config, "init_lora_weights", None) == "loftq":
        config.init_lora_weights = True  # pyright: ignore[reportAttributeAccessIssue]  (it would quantize the base)
    if adapter.config.get("task_type") == "SEQ_CLS" and hasattr(config, "modules_to_save"):
        saved = config.modules_to_save or []  # pyright: ignore[reportAttributeAccessIssue]
        brought = {name.partition(".")[0] for name in adapter.shapes}
        heads = [name for name in ("classifier", "score") if name not in saved and name in brought]
        config.modules_to_save = [*saved, *heads] or None  # pyright: ignore[reportAttributeAccessIssue]
    _resize(model, adapter)
    wrapped = PeftModel(model, config, low_cpu_mem_usage=unfilled)
    expected = {
        name.removeprefix(PREFIX): tuple(tensor.shape)
        for name, tensor in get_peft_model_state_dict(wrapped, save_embedding_layers=False).items()
    }
    known = {
        name.removeprefix(PREFIX).replace(".default", ""): tuple(tensor.shape)
        for name, tensor in wrapped.state_dict().items()
    }
    _compare(adapter, expected, known | expected)
    return wrapped


def _compare(adapter: Adapter, expected: dict[str, tuple[int, ...]], known: dict[str, tuple[int, ...]]) -> None:
    folder, held = adapter.located.folder, adapter.shapes
    missing, foreign = expected.keys() - held.keys(), held.keys() - known.keys()
    if missing or foreign:
        raise CheckpointError(
            f"{folder} does not fit the base: it {'lacks' if missing else 'holds unknown'} weights "
            f"({some(missing or foreign)}); name an adapter trained on this base."
        )
    differing = sorted(name for name, shape in held.items() if shape != known[name])
    if differing:
        stored_shape, expected_shape = (
            " x ".join(map(str, source[differing[0]])) or "one value" for source in (held, known)
        )
        raise CheckpointError(
            f"{folder} does not fit the base: {differing[0]} is {stored_shape} in the adapter and {expected_shape} by "
            f"its config and this base; name an adapter trained on this base."
        )


def _resize(model: PreTrainedModel, adapter: Adapter) -> None:
    """Give the base the vocabulary that the adapter was trained with; new rows must be in the adapter's file."""
    rows = adapter.vocabulary
    embed = model.get_input_embeddings()
    if rows is None or not isinstance(embed, nn.Embedding) or rows == embed.num_embeddings:
        return
    family, grown = family_of(adapter.architecture, str(adapter.located.folder)), rows > embed.num_embeddings
    needed = {f"{family.embed}.weight"}
    if family.predicts:
        tied = model.get_output_embeddings().weight is embed.weight  # pyright: ignore[reportOptionalMemberAccess]
        needed = {f"{family.embed}.weight", f"{family.unembed}.weight"}
        needed = needed if not tied or not needed & adapter.whole else set()
    if grown and not needed <= adapter.whole:
        raise CheckpointError(
            f"{adapter.located.folder} was trained with {rows} tokens and its base has {embed.num_embeddings}, but it "
            f"lacks the rows of the new tokens ({some(needed - adapter.whole)}); save it again with "
            f"save_embedding_layers=True."
        )
    model.resize_token_embeddings(rows, mean_resizing=False)


def _untie(model: PreTrainedModel) -> None:
    """Give embedding and head separate matrices if they share one and the adapter changes only one of them.

    Merging into the shared matrix would change both, unlike in training.
    """
    from peft.tuners.trainable_tokens import TrainableTokensLayer
    from peft.tuners.tuners_utils import BaseTunerLayer

    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    changed = [isinstance(module, BaseTunerLayer) and not isinstance(module, TrainableTokensLayer) for module in ends]
    embed, head = (module.get_base_layer() if isinstance(module, BaseTunerLayer) else module for module in ends)
    if any(changed) and head is not None and getattr(head, "weight", None) is getattr(embed, "weight", None):
        head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)  # pyright: ignore


@contextmanager
def _as_peft_names_it(adapter: Adapter) -> Iterator[Path]:
    """Yield a folder with the adapter in one file under PEFT's names: the adapter's own folder if it already is."""
    folder = adapter.located.folder
    if adapter.located.weights == (folder / _FILE,) and all(PREFIX + new == old for new, old in adapter.names.items()):
        yield folder
        return
    renamed = {old: new for new, old in adapter.names.items()}
    tensors_by_name: dict[str, Tensor] = {}
    for file in adapter.located.weights:
        with safe_open(file, framework="pt") as stored:
            names = renamed.keys() & set(stored.keys())
            tensors_by_name |= {PREFIX + renamed[name]: stored.get_tensor(name) for name in names}
    with tempfile.TemporaryDirectory() as place:
        save_file(tensors_by_name, Path(place) / _FILE)
        yield Path(place)


@contextmanager
def _quietly() -> Iterator[None]:
    """Hide PEFT's warnings; the relevant ones are errors here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _explained(adapter: Adapter) -> Iterator[None]:
    """Turn what PEFT raises into one sentence."""
    try:
        yield
    except _FAILURES as error:
        text = str(error)
        if isinstance(error, NotImplementedError | RuntimeError) and any(sign in text for sign in _NEEDS_VALUES):
            raise _NeedsValues from error
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        reason = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
        raise CheckpointError(
            f"{adapter.located.folder} cannot be merged onto its base ({reason.rstrip('.')}); name an adapter that "
            f"PEFT can merge, trained on this base."
        ) from error
