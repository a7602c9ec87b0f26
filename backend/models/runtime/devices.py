"""Choose the device that models run on, measure and free its memory, and wait for its work to finish."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from backend.errors import DeviceError
from backend.models.runtime.device_names import DEVICE_VARIABLE, requested_device
from backend.models.runtime.memory_plan import WEIGHTS_SHARE

MODEL_BYTES_VARIABLE = "LAYERSHIFT_MODEL_BYTES"
DEFAULT_SHARE = 0.6
_FALLBACK_BYTES = 4 << 30


def choose_device() -> torch.device:
    """Return LAYERSHIFT_DEVICE, else the first available of CUDA, MPS and CPU. Raises DeviceError."""
    name = requested_device()
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name is None:
        name = "cuda" if cuda else "mps" if mps else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not cuda:
        raise DeviceError(
            f"{DEVICE_VARIABLE} asks for {name}, but torch finds no CUDA device here; unset it or set it to cpu."
        )
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    if device.type == "cuda" and device.index >= torch.cuda.device_count():
        raise DeviceError(
            f"{DEVICE_VARIABLE} asks for {name}, but there are {torch.cuda.device_count()} CUDA devices, numbered "
            f"from 0; choose one of those."
        )
    if device.type == "mps" and not mps:
        raise DeviceError(f"{DEVICE_VARIABLE} asks for mps, but torch finds no Apple GPU here; set it to cpu.")
    return device


def model_bytes(device: torch.device, spread: bool = False) -> int:
    """Return how many bytes of weights may stay loaded: LAYERSHIFT_MODEL_BYTES, or 60 % of the memory free now.

    `spread` counts all GPUs. Raises DeviceError unless the variable is a whole number above 0.
    """
    text = os.environ.get(MODEL_BYTES_VARIABLE, "")
    if not text:
        return int(free_bytes(device, spread) * DEFAULT_SHARE)
    if not text.isdecimal() or int(text) == 0:
        raise DeviceError(f'{MODEL_BYTES_VARIABLE} is "{text}"; give a whole number of bytes.')
    return int(text)


def weight_room(device: torch.device, held: int, given: int | None = None) -> int:
    """Return how many more bytes of weights fit beside the `held` ones.

    At most `given` or LAYERSHIFT_MODEL_BYTES in total; without either what is free now, less a share for activations.
    """
    if given is not None:
        return given - held
    if os.environ.get(MODEL_BYTES_VARIABLE):
        return model_bytes(device) - held
    return int(free_bytes(device) * WEIGHTS_SHARE)


def free_bytes(device: torch.device, spread: bool = False) -> int:
    """Return the free memory of the device in bytes, or of all GPUs if `spread`."""
    if device.type == "cuda":
        gpus = range(torch.cuda.device_count()) if spread else [device.index or 0]
        return sum(torch.cuda.mem_get_info(gpu)[0] for gpu in gpus)
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines() if ":" in line)
        if "MemAvailable" in lines:
            return int(lines["MemAvailable"].split()[0]) * 1024
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return _FALLBACK_BYTES


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether memory ran out; accelerate knows the messages of backends without an error type for it."""
    return isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)


def finish(device: torch.device) -> None:
    """Wait until the device has finished its work, so that a time taken afterwards is right."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def give_back() -> None:
    """Return the memory of dropped tensors to the device."""
    clear_device_cache(garbage_collection=True)
