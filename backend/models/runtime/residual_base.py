"""Tell whether a LoRA carries main components of its base's weights, and so belongs on the rest of these weights.

PiSSA (Meng et al. 2024) and OLoRA (Büyükakyüz 2024) start from B A = the main components of W, and train on the base
W - B A. An adapter whose config says so is merged onto the plain base, from which PEFT removes these components again.
An adapter whose config is silent, as it is after the base was saved without them, would add them a second time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from backend.errors import CheckpointError
from backend.models.files.adapters import Adapter
from backend.models.files.locate import ADAPTER_CONFIG, Located, tensors
from backend.models.files.tensor_names import plain_names

STARTS = ("pissa", "olora")
"""Values of init_lora_weights with which PEFT removes main components from the base when it loads the adapter."""
_READ = 6
_ENDS = (".lora_A.weight", ".lora_B.weight")
_NEAR_ONE, _NEAR_ZERO = (0.5, 2.0), 0.25


@dataclass(frozen=True)
class Overlap:
    """How much of its base's weight a change s B A holds: `share` = <sBA, W> / |sBA|^2, and `cosine` of the two.

    `least` is the cosine that the main components of any W of this shape and rank have at least.
    """

    share: float
    cosine: float
    least: float


def check_base(adapter: Adapter, base: Located) -> None:
    """Raise CheckpointError for a LoRA on a base without main components, if the study's base has them, or vice versa.

    Reads at most six of the base's matrices.
    """
    found = list(overlaps(adapter, base))
    if not found:
        return
    share = float(np.median([one.share for one in found]))
    aligned = float(np.median([one.cosine / one.least for one in found])) > 0.5  # half of the least is far above chance
    start = adapter.config.get("init_lora_weights")
    if start in STARTS and (share < _NEAR_ZERO or not aligned):
        raise CheckpointError(
            f'{adapter.located.folder} starts from main components of its base (init_lora_weights = "{start}"), and '
            f"{base.folder} lacks them, as a base saved without them does; name the original base."
        )
    if start not in STARTS and aligned and _NEAR_ONE[0] < share < _NEAR_ONE[1]:
        raise CheckpointError(
            f"{adapter.located.folder} holds main components of {base.folder} itself, as PiSSA and OLoRA leave it, and "
            f"merging would count them twice; name the base that was saved without them, or set init_lora_weights to "
            f'"pissa" or "olora" in {ADAPTER_CONFIG}.'
        )


def overlaps(adapter: Adapter, base: Located) -> Iterator[Overlap]:
    """Yield the overlap of some of the adapter's changes with the weights that they change; none for other methods."""
    if adapter.config.get("peft_type") != "LORA" or adapter.config.get("use_dora"):
        return
    modules = [name.removesuffix(_ENDS[0]) for name in sorted(adapter.names) if name.endswith(_ENDS[0])]
    modules = [module for module in modules if module + _ENDS[1] in adapter.names]
    names = plain_names(entry.name for entry in tensors(base))
    stored = {plain: name for name, plain in names.items()}
    for i in np.unique(np.linspace(0, len(modules) - 1, min(_READ, len(modules))).astype(int)):
        name = next((one for one in _weights(modules[int(i)]) if one in stored), None)
        weight = None if name is None else _read(base, stored[name])
        if weight is not None and weight.ndim == 2:
            a, b = (_read(adapter.located, adapter.names[modules[int(i)] + end]) for end in _ENDS)
            one = None if a is None or b is None else _overlap(a, b, weight, adapter.config)
            if one is not None:
                yield one


def _weights(module: str) -> tuple[str, ...]:
    """Return the names that a module's weight may have in the base, with and without the name of its body."""
    return (f"{module}.weight", f"{module.partition('.')[2]}.weight")


def _overlap(a: Tensor, b: Tensor, weight: Tensor, config: dict[str, Any]) -> Overlap | None:
    """Compare B A with W, in whichever orientation W is stored; None if the shapes differ."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
        return None
    shape, rank = (b.shape[0], a.shape[1]), a.shape[0]
    scale = float(config.get("lora_alpha", rank)) / (rank**0.5 if config.get("use_rslora") else rank)
    ways = [one for one in (weight, weight.T) if tuple(one.shape) == shape]
    size = float(((a @ a.T) * (b.T @ b)).sum())
    if not ways or size <= 0 or not scale:
        return None
    inner = max(float(((b.T @ one) * a).sum()) for one in ways)
    return Overlap(
        share=inner / (scale * size),
        cosine=inner / (size**0.5 * float(weight.norm())),
        least=(rank / min(shape)) ** 0.5,
    )


def _read(located: Located, name: str) -> Tensor | None:
    for file in located.weights:
        with safe_open(file, framework="pt") as stored:
            if name in stored.keys():  # noqa: SIM118 (no mapping)
                value: torch.Tensor = stored.get_tensor(name)
                return value.float() if value.is_floating_point() else None
    return None
