"""What config.json may say, and what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.errors import CheckpointError
from backend.models.files.configs import leftover_quantization, named_class, read_config, refuse_quantized
from backend.models.files.locate import locate
from backend.models.files.safetensors_headers import Entry
from tests.models.odd_folders import config
from tests.models.random_models import ref


def test_quantization_is_left_out(gpt2: Path):
    before = read_config(locate(ref(gpt2)), "here")
    assert leftover_quantization(locate(ref(gpt2))) is None
    config(quantization_config={"quant_method": "gptq"})(gpt2)
    assert read_config(locate(ref(gpt2)), "here") == before
    assert leftover_quantization(locate(ref(gpt2))) == "quantization_config"


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("h.0.weight", "I8"),
        ("h.0.weight", "F8_E4M3"),
        ("h.0.weight.absmax", "F32"),
        ("h.0.weight.quant_state.bitsandbytes__nf4", "U8"),
        ("h.0.SCB", "F32"),
        ("h.0.qweight", "I32"),
        ("h.0.scales", "F16"),
        ("h.0.weight_scale_inv", "F32"),
        ("h.0.weight_packed", "I32"),
        ("h.0.input_scale", "F32"),
        ("h.0.weight:qdata", "I8"),
    ],
)
def test_quantized_weights_are_refused(name: str, dtype: str):
    with pytest.raises(CheckpointError, match=f"here is quantized .{name} is stored as {dtype}"):
        refuse_quantized((Entry("h.0.bias", "F32", (2,)), Entry(name, dtype, (2, 2))), "here")


def test_plain_weights_and_buffers_are_not(gpt2: Path):
    entries = (("h.0.weight", "BF16"), ("h.0.attn.bias", "U8"), ("embeddings.position_ids", "I64"), ("ln.gamma", "F16"))
    refuse_quantized(tuple(Entry(name, dtype, (2,)) for name, dtype in entries), "here")


@pytest.mark.parametrize("value", [float("nan"), {"factor": [1.0, float("inf")]}])
def test_numbers_are_finite(gpt2: Path, value: object):
    config(rope_scaling=value)(gpt2)
    with pytest.raises(CheckpointError, match=r"here: config.json has (rope_scaling = nan|factor = inf), which"):
        read_config(locate(ref(gpt2)), "here")


@pytest.mark.parametrize(
    ("architectures", "name"),
    [
        (["BertModel"], "BertModel"),
        ("BertModel", "BertModel"),
        (["FSDPLlamaForCausalLM"], "LlamaForCausalLM"),
        (["OptimizedModule"], None),
        (["AutoModelForCausalLM"], None),
        (["PeftModelForCausalLM"], None),
        ([], None),
        ([None], None),
        (None, None),
    ],
)
def test_the_class_of_a_config(architectures: object, name: str | None):
    assert named_class({"architectures": architectures}) == name
