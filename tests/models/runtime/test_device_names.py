"""The device by its name, torch unasked."""

from __future__ import annotations

import pytest

from backend.errors import DeviceError
from backend.models.runtime.device_names import likely_device, requested_device


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:1", "mps", "CPU "])
def test_a_name_is_taken(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv("LAYERSHIFT_DEVICE", name)
    assert requested_device() == likely_device() == name.strip().lower()


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "0"])
def test_another_word_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv("LAYERSHIFT_DEVICE", name)
    with pytest.raises(DeviceError, match=f'LAYERSHIFT_DEVICE is "{name}"; use cpu, cuda, cuda:N or mps'):
        requested_device()


def test_without_a_name_something_is_likely(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LAYERSHIFT_DEVICE")
    assert requested_device() is None
    assert likely_device() in ("cpu", "cuda", "mps")
