"""The device of the torch tests: LAYERSHIFT_TEST_DEVICE (`make test-gpu`), by default the CPU."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch

from backend.models.runtime.devices import choose_device

DEVICE = choose_device()  # tests/conftest.py sets LAYERSHIFT_DEVICE
M = TypeVar("M", bound=torch.nn.Module)


def there(model: M) -> M:
    """The model on the device: itself on the CPU, elsewhere a copy, because plain models stay on the CPU."""
    return model if DEVICE.type == "cpu" else copy.deepcopy(model).to(DEVICE)


def ask(model: Any, *ids: torch.Tensor, **options: Any) -> Any:
    """Run a model on the device that it is on."""
    where = next(parameter.device for parameter in model.parameters() if parameter.device.type != "meta")
    return model(*(one.to(where) for one in ids), **options)
