"""Read the requested device from the environment, without importing torch."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from backend.errors import DeviceError

DEVICE_VARIABLE = "LAYERSHIFT_DEVICE"
_NAME = re.compile(r"cpu|mps|cuda(:\d+)?")


def requested_device() -> str | None:
    """Return LAYERSHIFT_DEVICE, or None when it is not set. Raises DeviceError when it names no device."""
    name = os.environ.get(DEVICE_VARIABLE, "").strip().lower()
    if name and not _NAME.fullmatch(name):
        raise DeviceError(f'{DEVICE_VARIABLE} is "{name}"; use cpu, cuda, cuda:N or mps.')
    return name or None


def likely_device() -> str:
    """Guess the device that models will run on, for display, without importing torch."""
    name = requested_device()
    if name:
        return name
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "mps"
    try:
        cpu_only = version("torch").endswith("+cpu")
    except PackageNotFoundError:
        cpu_only = True
    return "cuda" if not cpu_only and Path("/proc/driver/nvidia/version").exists() else "cpu"
