"""Choosing a device that is there, and how much of it may be filled."""

from __future__ import annotations

import pytest
import torch

from backend.errors import DeviceError
from backend.models.runtime.devices import choose_device, free_bytes, is_out_of_memory, model_bytes

CPU = torch.device("cpu")


def test_cpu_is_always_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LAYERSHIFT_DEVICE", "cpu")
    assert choose_device() == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_cuda_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv("LAYERSHIFT_DEVICE", name)
    with pytest.raises(DeviceError, match=f"asks for {name}, but torch finds no CUDA device here"):
        choose_device()


def test_a_gpu_that_is_not_among_them_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setenv("LAYERSHIFT_DEVICE", "cuda:5")
    with pytest.raises(DeviceError, match="there are 2 CUDA devices, numbered from 0"):
        choose_device()
    monkeypatch.setenv("LAYERSHIFT_DEVICE", "cuda:1")
    assert choose_device() == torch.device("cuda", 1)
    monkeypatch.delenv("LAYERSHIFT_DEVICE")
    assert choose_device() == torch.device("cuda", 0)


def test_the_share_of_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LAYERSHIFT_MODEL_BYTES", raising=False)
    assert 0 < model_bytes(CPU) < free_bytes(CPU) * 1.5
    monkeypatch.setenv("LAYERSHIFT_MODEL_BYTES", "1234")
    assert model_bytes(CPU) == 1234
    monkeypatch.setenv("LAYERSHIFT_MODEL_BYTES", "2 GB")
    with pytest.raises(DeviceError, match='LAYERSHIFT_MODEL_BYTES is "2 GB"; give a whole number of bytes'):
        model_bytes(CPU)


def test_memory_that_ran_out_is_told_from_other_failures():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GiB)"))
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
