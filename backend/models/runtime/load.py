"""Load a checkpoint with transformers, and check that every weight comes from its files."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import logging as chatter

from backend.errors import CheckpointError, DeviceError, UnsupportedError
from backend.models.architectures import family_of
from backend.models.files.adapters import Adapter, read_adapter
from backend.models.files.facts import POSITION_TABLE
from backend.models.files.locate import Located
from backend.models.runtime.components import ModelComponents, anatomy_of
from backend.models.runtime.devices import give_back, is_out_of_memory
from backend.models.runtime.from_pretrained import load
from backend.models.runtime.merge_adapter import attach, merge

if TYPE_CHECKING:
    from backend.models.runtime.self_check import Checked

_FAILURES = (
    *(OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError, ArithmeticError),
    *(SafetensorError, StrictDataclassError),
)
_CHATTER = threading.Lock()


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready to run: evaluation mode, no gradients.

    `device` is for token ids, `bytes` is the size of its weights in memory, without those that are read from files.
    """

    model: PreTrainedModel
    components: ModelComponents
    device: torch.device
    bytes: int

    @cached_property
    def checked(self) -> Checked:
        """What the self-check confirmed. Raises CheckpointError for a model without a residual stream."""
        from backend.models.runtime.self_check import check  # which imports this module

        return check(self)

    def logits(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows outputs"]:
        """Return the logits of residuals after the final norm. Raises CheckpointError where they are not confirmed."""
        self.check_lens()
        return self.components.logits(x.to(self.model.dtype))

    def check_lens(self) -> None:
        """Raise CheckpointError if residuals cannot be read as logits."""
        if self.checked.lens:
            raise UnsupportedError(self.checked.lens)

    def rows(self, of: str) -> int | None:
        """Return how many rows the embedding of a token, token type or position has; None without a table."""
        return self._tables.get(of)

    @cached_property
    def _tables(self) -> dict[str, int]:
        tokens = getattr(self.components.embed, "num_embeddings", None)
        found = {} if tokens is None else {"token": int(tokens)}
        for name, module in self.components.body.named_modules():
            if isinstance(module, torch.nn.Embedding) and name.endswith("token_type_embeddings"):
                found["token type"] = module.num_embeddings
            elif isinstance(module, torch.nn.Embedding) and name.endswith("embed_tokens_per_layer"):
                found["token"] = min(found["token"], module.num_embeddings)
            elif isinstance(module, torch.nn.Embedding) and POSITION_TABLE.fullmatch(f"{name}.weight"):
                most = getattr(self.model.config, "max_position_embeddings", None) or module.num_embeddings
                found["position"] = min(most, module.num_embeddings) - self.components.family.first_position
        return found

    @cached_property
    def caches(self) -> bool:
        """Whether attention can run on some tokens alone, on cached keys and values."""
        from backend.models.runtime.cache_check import caches  # which imports this module

        return caches(self)

    @cached_property
    def continues(self) -> bool:
        """Whether the model continues a text with transformers' cache as it would without."""
        from backend.models.runtime.cache_check import continues  # which imports this module

        return continues(self)


def open_model(
    located: Located,
    adapter: Located | None,
    architecture: str,
    device: torch.device,
    dtype: str,
    device_map: str | None,
    without_head: bool = False,
    memory: dict[int | str, int] | None = None,
) -> LoadedModel:
    """Load the full checkpoint at `located`, merge `adapter` onto it if given, and keep only the body `without_head`.

    The model computes in `dtype`, whatever the files store, with scaled-dot-product attention. `memory` bounds the
    bytes of weights on each device ("cpu": host memory); the rest is read from the files while the model runs. Raises
    CheckpointError when a weight is missing, of another shape or unreadable, DeviceError when the device is too small.
    """
    with quiet(), in_one_sentence(adapter or located, device):
        change = None if adapter is None else read_adapter(adapter, located)
        model = _load(located, architecture, device, dtype, device_map, change, memory)
        if change is not None:
            model = merge(model, change)
        place = str(located.folder)
        if without_head and family_of(type(model).__name__, place).body:
            model = cast("PreTrainedModel", model.get_submodule(family_of(type(model).__name__, place).body))
        if device.type == "mps" and device_map is None:
            model.to(device)  # pyright: ignore[reportArgumentType]
    model.eval().requires_grad_(False)
    tensors = {tensor.data_ptr() or id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    loaded = LoadedModel(
        model=model,
        components=anatomy_of(model),
        device=next((parameter.device for parameter in model.parameters() if parameter.device.type != "meta"), device),
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors.values() if not tensor.is_meta),
    )
    with quiet(), in_one_sentence(adapter or located, device):
        _ = loaded.checked
    return loaded


def open_unmerged(located: Located, adapter: Located, device: torch.device, dtype: str, device_map: str | None) -> Any:
    """Load the base at `located`, and return PEFT's model of it with the adapter unmerged.

    It runs in evaluation mode, without gradients. Raises what `open_model` raises.
    """
    with quiet(), in_one_sentence(adapter, device):
        change = read_adapter(adapter, located)
        model = attach(_load(located, change.architecture, device, dtype, device_map, change), change)
        if device.type == "mps" and device_map is None:
            model.to(device)
    return model.eval().requires_grad_(False)


def _load(
    located: Located,
    architecture: str,
    device: torch.device,
    dtype: str,
    device_map: str | None,
    change: Adapter | None = None,
    memory: dict[int | str, int] | None = None,
) -> PreTrainedModel:
    """Load the full checkpoint; missing weights may come from the adapter that will change it."""
    placement: dict[str, Any] = {}
    if memory is not None:
        placement |= {"device_map": "auto", "max_memory": memory}
    elif device_map is not None:
        placement["device_map"] = device_map
    elif device.type == "cuda":
        placement["device_map"] = {"": device}  # load directly to the device, without a copy in host memory
    return load(
        located,
        change.architecture if change else architecture,
        dtype,
        change=change,
        disable_mmap=not placement,  # a training run may rewrite the file while the weights are in use
        **placement,
    )


@contextmanager
def in_one_sentence(located: Located, device: torch.device) -> Iterator[None]:
    """Turn what transformers, safetensors and peft raise into one sentence that says what to do."""
    try:
        yield
    except _FAILURES as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            give_back()
            raise DeviceError(
                f"{located.folder} does not fit into the memory of {device}; close other programs there, set dtype = "
                f'"bfloat16" or device_map = "auto" in study.toml, or LAYERSHIFT_DEVICE to cpu.'
            ) from None
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = lines[-1 if isinstance(error, StrictDataclassError) else 0]  # the latter starts with its validator
        raise CheckpointError(
            f"{located.folder} cannot be opened ({reason.rstrip('.')}); save or copy the checkpoint again."
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Hide progress bars and load reports from the server's terminal; errors in them are raised."""
    with _CHATTER:
        level, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
        chatter.set_verbosity(logging.CRITICAL)
        chatter.disable_progress_bar()
        try:
            yield
        finally:
            chatter.set_verbosity(level)
            if bars:
                chatter.enable_progress_bar()
