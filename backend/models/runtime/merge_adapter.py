"""Merging a PEFT adapter onto its base, sure that what is merged is what was trained."""

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
from backend.models.architectures import FAMILIES
from backend.models.files.adapters import PREFIX, Adapter, some
from backend.models.files.locate import Located, tensors
from backend.models.runtime.devices import is_out_of_memory
from backend.models.runtime.finite import check_finite

_FAILURES = (ValueError, RuntimeError, KeyError, TypeError, AttributeError, AssertionError, IndexError, ImportError)
_NEEDS_VALUES = ("meta tensor", "meta device", "register_meta", "on the meta")
_FILE = "adapter_model.safetensors"


def merge(model: PreTrainedModel, adapter: Adapter) -> PreTrainedModel:
    """The base with the adapter's change added to its weights. Raises CheckpointError."""
    check_finite(adapter.located)
    with _quietly(), _explained(adapter):
        wrapped = _wrapped(model, adapter)
        with _as_peft_names_it(adapter) as folder:
            wrapped.load_adapter(str(folder), "default", torch_device="cpu", autocast_adapter_dtype=False)
        _untie(model)
        return wrapped.base_model.merge_and_unload(safe_merge=True)  # pyright: ignore[reportCallIssue]


def verdict_on(adapter: Adapter, base: Located) -> str:
    """Why the adapter cannot be merged onto its base, in a sentence; empty if it can. Reads the adapter's values only.

    A method that must see the base's values, which a few do, is merged for real.
    """
    try:
        check_finite(adapter.located)
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
    """A method cannot be merged without values."""


def _merged_for_real(adapter: Adapter, base: Located) -> str:
    from backend.models.runtime.load import open_model  # which imports this module

    try:
        open_model(base, adapter.located, adapter.architecture, torch.device("cpu"), "float32", None)
    except (CheckpointError, DeviceError) as error:
        return str(error)
    return ""


def _unfilled(adapter: Adapter, base: Located) -> PreTrainedModel:
    """The base's class without values; CheckpointError where it needs a weight that neither file has."""
    from backend.models.runtime.from_pretrained import load  # which imports this module

    stored = {entry.name: torch.empty(entry.shape, device="meta") for entry in tensors(base)}
    with _quietly():
        return load(base, adapter.architecture, "float32", stored, adapter, device_map={"": torch.device("meta")})


def check_brought(missing: list[str], adapter: Adapter) -> None:
    """CheckpointError where the base lacks weights and the adapter does not bring them: never a random head."""
    lacking = [name for name in missing if name not in adapter.whole]
    if lacking and adapter.answers is not None:
        raise CheckpointError(
            f"{adapter.located.folder} lacks weights of the head that it was trained with ({some(lacking)}), and its "
            f"base has none; train it with them in modules_to_save."
        )


def _wrapped(model: PreTrainedModel, adapter: Adapter, unfilled: bool = False) -> Any:
    """The base in PEFT's wrapper, the names and shapes of the adapter's file compared with what that wrapper wants."""
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict  # slow to import, and only for adapters

    config = PeftConfig.from_pretrained(str(adapter.located.folder))
    config.inference_mode = True
    if adapter.config.get("task_type") == "SEQ_CLS" and hasattr(config, "modules_to_save"):
        saved = config.modules_to_save or []  # pyright: ignore[reportAttributeAccessIssue]
        brought = {name.partition(".")[0] for name in adapter.shapes}
        heads = [name for name in ("classifier", "score") if name not in saved and name in brought]
        config.modules_to_save = [*saved, *heads] or None  # pyright: ignore[reportAttributeAccessIssue]
    _resize(model, adapter)
    wrapped = PeftModel(model, config, low_cpu_mem_usage=unfilled)
    wanted = {
        name.removeprefix(PREFIX): tuple(tensor.shape)
        for name, tensor in get_peft_model_state_dict(wrapped, save_embedding_layers=False).items()
    }
    known = {
        name.removeprefix(PREFIX).replace(".default", ""): tuple(tensor.shape)
        for name, tensor in wrapped.state_dict().items()
    }
    _compare(adapter, wanted, known | wanted)
    return wrapped


def _compare(adapter: Adapter, wanted: dict[str, tuple[int, ...]], known: dict[str, tuple[int, ...]]) -> None:
    folder, held = adapter.located.folder, adapter.shapes
    missing, foreign = wanted.keys() - held.keys(), held.keys() - known.keys()
    if missing or foreign:
        raise CheckpointError(
            f"{folder} does not fit the base: it {'lacks' if missing else 'holds unknown'} weights "
            f"({some(missing or foreign)}); name an adapter trained on this base."
        )
    unlike = sorted(name for name, shape in held.items() if shape != known[name])
    if unlike:
        here, there = (" x ".join(map(str, of[unlike[0]])) or "one value" for of in (held, known))
        raise CheckpointError(
            f"{folder} does not fit the base: {unlike[0]} is {here} in the adapter and {there} by its config and this "
            f"base; name an adapter trained on this base."
        )


def _resize(model: PreTrainedModel, adapter: Adapter) -> None:
    """Give the base the vocabulary that the adapter was trained with; new rows must be in the adapter's file."""
    rows = adapter.vocabulary
    embed = model.get_input_embeddings()
    if rows is None or not isinstance(embed, nn.Embedding) or rows == embed.num_embeddings:
        return
    family, grown = FAMILIES[adapter.architecture], rows > embed.num_embeddings
    needed = {f"{family.embed}.weight"}
    if family.unembed == "lm_head":
        tied = model.get_output_embeddings().weight is embed.weight  # pyright: ignore[reportOptionalMemberAccess]
        needed = {f"{family.embed}.weight", "lm_head.weight"}
        needed = needed if not tied or not needed & adapter.whole else set()
    if grown and not needed <= adapter.whole:
        raise CheckpointError(
            f"{adapter.located.folder} was trained with {rows} tokens and its base has {embed.num_embeddings}, but the "
            f"rows of the new ones are not in it ({some(needed - adapter.whole)}); save it again with "
            f"save_embedding_layers=True."
        )
    model.resize_token_embeddings(rows, mean_resizing=False)


def _untie(model: PreTrainedModel) -> None:
    """Give embedding and head a matrix each where the adapter changes one of two that are one.

    Merged onto the shared matrix, a change of the embedding would change the head too, which training never saw.
    """
    from peft.tuners.trainable_tokens import TrainableTokensLayer
    from peft.tuners.tuners_utils import BaseTunerLayer

    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    changed = [isinstance(one, BaseTunerLayer) and not isinstance(one, TrainableTokensLayer) for one in ends]
    embed, head = (one.get_base_layer() if isinstance(one, BaseTunerLayer) else one for one in ends)
    if any(changed) and head is not None and getattr(head, "weight", None) is getattr(embed, "weight", None):
        head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)  # pyright: ignore


@contextmanager
def _as_peft_names_it(adapter: Adapter) -> Iterator[Path]:
    """A folder with the adapter in one file under the names that PEFT gives; the adapter's own where it is so."""
    folder = adapter.located.folder
    if adapter.located.weights == (folder / _FILE,) and all(PREFIX + new == old for new, old in adapter.names.items()):
        yield folder
        return
    kept = {old: new for new, old in adapter.names.items()}
    found: dict[str, Tensor] = {}
    for file in adapter.located.weights:
        with safe_open(file, framework="pt") as stored:
            found |= {PREFIX + kept[name]: stored.get_tensor(name) for name in stored.keys() if name in kept}  # noqa: SIM118
    with tempfile.TemporaryDirectory() as place:
        save_file(found, Path(place) / _FILE)
        yield Path(place)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without PEFT's warnings: those that matter are errors here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _explained(adapter: Adapter) -> Iterator[None]:
    """What PEFT raises, as a sentence."""
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
            f"{adapter.located.folder} cannot be merged onto its base ({reason.rstrip('.')}); name an adapter trained "
            f"on this base."
        ) from error
