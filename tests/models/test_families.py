"""One model for each kind of layout against plain transformers; `make families` compares every class."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from backend import wiring
from backend.__main__ import main
from backend.caching.progress import silent
from backend.errors import CheckpointError
from backend.models.architectures import default_architecture, family_of, kind_of
from backend.models.class_names import adapters, decoders
from backend.models.measurements.generation import continuation
from backend.models.runtime.components import anatomy_of
from backend.models.runtime.load import LoadedModel
from docs.families import PAGE, absent, adapters_without_a_row, classes, variants
from tests.contract import PARTS, measured, opened, prompts_for
from tests.tiny import rewrite, tiny_study
from tests.tiny_families import tiny

TOLERANCE = 1e-4
UNMAPPED = {"HrmTextForCausalLM"}  # it runs the same blocks several times
ALL = set(PARTS)
HALVES = {"attention and MLP swaps", "attribution"}
LAYOUTS = {  # class: parts that are refused
    "GPT2LMHeadModel": set(),
    "Qwen2ForSequenceClassification": set(),
    "GPTNeoXForCausalLM": set(),  # attention and MLP side by side
    "PhiForCausalLM": set(),  # side by side, on one norm
    "CohereForCausalLM": set(),  # a scale on the logits
    "Gemma2ForCausalLM": {"attribution"},  # norms before and after, a soft cap, a scaled embedding
    "Gemma3ForCausalLM": {"attribution"},  # two rotary bases
    "Olmo2ForCausalLM": {"attribution"},  # norms after only
    "GraniteForCausalLM": set(),  # multipliers
    "OPTForCausalLM": set(),  # no MLP module, an offset of positions
    "GPTNeoForCausalLM": set(),  # windows in its own tables
    "MixtralForCausalLM": set(),
    "GptOssForCausalLM": set(),
    "DeepseekV3ForCausalLM": set(),
    "Qwen3NextForCausalLM": {"attribution"},  # linear attention in some blocks
    "BloomForCausalLM": HALVES,  # halves add the residual themselves; biases for each text
    "MambaForCausalLM": HALVES,
    "ModernBertDecoderForCausalLM": ALL - {"residuals"},  # a module between final norm and unembedding
    "Gemma4ForCausalLM": ALL - {"residuals", "logit lens"},  # inputs of its own in every block
    "DeepseekV4ForCausalLM": ALL,  # several residual streams
    "ElectraForSequenceClassification": {"attribution"},  # an embedding of another width
    "AlbertForSequenceClassification": {"attribution"},  # shared blocks
    "DebertaV2ForSequenceClassification": {"attribution"},
    "MPNetForSequenceClassification": {"attribution"},
    "ModernBertForSequenceClassification": {"attribution"},  # norms before
}


@pytest.mark.parametrize("architecture", LAYOUTS)
def test_a_layout_is_plain_transformers_or_refused(architecture: str):
    found = measured(architecture)
    assert {part for part, error in found.items() if error is None} == LAYOUTS[architecture]
    assert {part: error for part, error in found.items() if error is not None and error > TOLERANCE} == {}


def test_every_class_stands_in_the_table():
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted({*classes(), *variants()})
    assert sum(kind_of(family_of(name, "here").model_type) == "causal" for name in classes()) >= 60
    assert sum(kind_of(family_of(name, "here").model_type) == "encoder" for name in classes()) >= 10


def test_a_refusal_names_the_model_and_what_still_works():
    model = opened("BloomForCausalLM", 0)
    assert not model.checked.halves
    assert not model.checked.blocks
    model = opened("ModernBertDecoderForCausalLM", 0)
    with pytest.raises(
        CheckpointError, match=r"final norm and unembedding of .*ModernBertDecoderForCausalLM.* can be read"
    ):
        model.check_lens()
    model = opened("Gemma4ForCausalLM", 0)
    assert "cannot run one by one" in model.checked.blocks


def test_a_broken_block_is_found():
    """A model whose block adds something that its parts do not say is refused, in whichever part needs it."""
    model = tiny("LlamaForCausalLM")
    model.model.layers[1].register_forward_hook(lambda _module, _args, out: out * 1.01)
    loaded = LoadedModel(model, anatomy_of(model), torch.device("cpu"), 0)
    assert loaded.checked.halves == ""
    assert loaded.checked.blocks == ""


def test_a_scale_that_nobody_knows_refuses_the_lens():
    model = tiny("LlamaForCausalLM")
    model.register_forward_hook(lambda _module, _args, out: type(out)(logits=out.logits * 2))
    loaded = LoadedModel(model, anatomy_of(model), torch.device("cpu"), 0)
    assert "cannot be read as logits" in loaded.checked.lens


def test_a_model_that_reads_later_tokens_is_refused():
    model = tiny("LlamaForCausalLM")
    model.model.layers[1].register_forward_hook(lambda _module, _args, out: out + out.mean(1, keepdim=True))
    loaded = LoadedModel(model, anatomy_of(model), torch.device("cpu"), 0)
    with pytest.raises(CheckpointError, match="lets later tokens change earlier ones"):
        _ = loaded.checked


@pytest.mark.parametrize("model_type", ["gemma3_text", "gpt_neox", "opt", "mpnet", "albert"])
def test_names_of_classes_come_from_the_libraries(model_type: str):
    architecture = default_architecture(model_type)
    family = family_of(architecture, "here")
    model = tiny(architecture)
    assert model.get_submodule(family.embed) is model.get_input_embeddings()
    assert family.model_type == model_type


def test_paths_from_the_sources_are_those_of_the_models():
    """Paths that are known without torch: body, embedding, blocks and head of every decoder that can be built."""
    for row in (one for one in decoders().values() if one.tokens not in UNMAPPED):
        model = tiny(row.tokens)
        family = family_of(row.tokens, "here")
        assert model.get_submodule(family.embed) is model.get_input_embeddings(), row.tokens
        assert model.get_submodule(family.unembed or "") is model.get_output_embeddings(), row.tokens
        assert len(list(model.get_submodule(family.blocks).children())) == model.config.num_hidden_layers, row.tokens


def test_prompts_of_the_contract_are_longer_than_windows():
    assert max(map(len, prompts_for(opened("MistralForCausalLM", 0)).token_ids)) > 6


def test_the_page_is_beside_the_documentation():
    assert Path("docs/families.md").resolve() == PAGE.resolve()


@pytest.mark.parametrize(
    "architecture",
    ["GPTNeoXForCausalLM", "BloomForCausalLM", "MambaForCausalLM", "Gemma3ForCausalLM", "Qwen3NextForCausalLM"],
)
@torch.no_grad()
def test_continuations_are_those_without_a_cache(architecture: str):
    model = opened(architecture, 0)
    prompts = prompts_for(model)
    ids = list(prompts.token_ids[0])
    found = continuation(model, prompts, None, 8, None, silent)
    for token in found:
        assert token == int(model.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        ids.append(token)
    assert (
        len(found) == 8 or int(model.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()) == 0
    )


@pytest.mark.parametrize("cast", ["bfloat16", "half"])
@pytest.mark.parametrize(
    "architecture", ["GPTNeoXForCausalLM", "Gemma3ForCausalLM", "BloomForCausalLM", "MambaForCausalLM"]
)
def test_rounding_in_half_precision_refuses_nothing(architecture: str, cast: str):
    model = tiny(architecture)
    whole = LoadedModel(model, anatomy_of(model), torch.device("cpu"), 0).checked
    model = getattr(model, cast)()
    assert LoadedModel(model, anatomy_of(model), torch.device("cpu"), 0).checked == whole


def test_a_decoder_without_a_final_norm_is_refused_where_it_needs_one():
    """OPT-350m: norms after its halves, and a projection before the unembedding."""
    model = tiny("OPTForCausalLM", do_layer_norm_before=False, word_embed_proj_dim=16)
    checked = LoadedModel(model, anatomy_of(model), torch.device("cpu"), 0).checked
    assert (checked.halves, checked.blocks) == ("", "")
    assert "cannot be read as logits" in checked.lens


@pytest.mark.parametrize(
    ("architecture", "refused", "because"),
    [
        ("Olmo2ForCausalLM", "attribution", "norms what attention adds, so heads have no contributions of their own"),
        ("ModernBertDecoderForCausalLM", "probes", "so residuals cannot be read as logits"),
        ("BloomForCausalLM", "swaps", "do not add up to its blocks, so they cannot be swapped alone"),
    ],
)
def test_an_export_leaves_out_what_an_architecture_does_not_allow(
    architecture: str,
    refused: str,
    because: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """The other analyses are there, and of this one what the model does allow."""
    monkeypatch.setenv("LAYERSHIFT_CACHE", str(tmp_path / "cache"))
    study = tiny_study(tmp_path / "study", (1,))
    rewrite(study, '[[checkpoints]]\nlabel = "epoch 2"\npath = "checkpoints/epoch-2"\n', "")
    rows = json.loads((study / "base" / "config.json").read_text())["vocab_size"]
    for seed, place in enumerate((study / "base", study / "checkpoints" / "epoch-1")):
        (place / "model.safetensors").unlink()
        tiny(architecture, seed, vocab_size=rows).save_pretrained(place)
    wiring.open_lab.cache_clear()
    assert main(["check", str(study)]) == 0
    assert main(["export", str(study), "--out", str(tmp_path / "out"), "--only", f"{refused},direction"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(f"left out of {refused}: ")]
    assert said and all(because in line for line in said)
    written = {file.stem: file.read_text().splitlines() for file in (tmp_path / "out").glob("*.csv")}
    assert len(written["direction"]) > 1
    assert refused not in written or {line.split(",")[2] for line in written[refused][1:]} == {
        *("block", "embed", "final_norm", "head")
    }
    wiring.open_lab.cache_clear()


def test_every_adapter_without_a_row_has_a_reason_on_the_page():
    page = PAGE.read_text(encoding="utf-8")
    assert page.endswith(f"{adapters_without_a_row()}\n")
    rows = {name.lower() for name in (*classes(), *variants())}
    unnamed = {name for names in absent().values() for name in names}
    assert all(name.lower() in rows or name in unnamed for name in adapters())
    assert not any(name.endswith("ForCausalLM") and hasattr(transformers, name) for name in unnamed)


def test_a_convolution_between_blocks_leaves_the_residuals_and_the_head():
    """DeBERTa v2 xlarge: what is added after block 0 belongs to no block, so blocks cannot run one by one."""
    found = measured("DebertaV2ForSequenceClassification", conv_kernel_size=3, conv_act="gelu")
    assert {part for part, error in found.items() if error is not None} == {"residuals", "logit lens"}
    assert max(error for error in found.values() if error is not None) < TOLERANCE
    model = opened("DebertaV2ForSequenceClassification", 0, conv_kernel_size=3, conv_act="gelu")
    assert "cannot run one by one" in model.checked.blocks


UNUSUAL: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "one key head, heads wider than the width": ("Qwen3ForCausalLM", {"head_dim": 16, "num_key_value_heads": 1}, set()),
    "biases everywhere": ("LlamaForCausalLM", {"attention_bias": True, "mlp_bias": True}, set()),
    "an untied head": ("GPT2LMHeadModel", {"tie_word_embeddings": False}, set()),
    "scores divided by the layer": ("GPT2LMHeadModel", {"scale_attn_by_inverse_layer_idx": True}, set()),
    "one half after the other": ("GPTNeoXForCausalLM", {"use_parallel_residual": False}, set()),
    "ALiBi, one half after the other": ("FalconForCausalLM", {"alibi": True, "parallel_attn": False}, set()),
    "low caps, a short window": (
        "Gemma2ForCausalLM",
        {"final_logit_softcapping": 5.0, "attn_logit_softcapping": 3.0, "sliding_window": 3},
        {"attribution"},
    ),
    "multipliers as Granite ships them": (
        "GraniteForCausalLM",
        {"residual_multiplier": 0.22, "embedding_multiplier": 12.0, "logits_scaling": 8.0},
        set(),
    ),
    "sinks, a short window": ("GptOssForCausalLM", {"sliding_window": 3, "num_key_value_heads": 1}, set()),
    "layers without positions": ("SmolLM3ForCausalLM", {"no_rope_layers": [1, 0, 1]}, set()),
    "shared experts": ("DeepseekV3ForCausalLM", {"n_shared_experts": 2, "q_lora_rank": None}, set()),
    "clipped queries": ("OlmoForCausalLM", {"clip_qkv": 0.5}, set()),
    "several groups of blocks": ("AlbertForSequenceClassification", {"num_hidden_groups": 3}, {"attribution"}),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_unusual_settings_are_plain_transformers(case: str):
    architecture, settings, refused = UNUSUAL[case]
    found = measured(architecture, **settings)
    assert {part for part, error in found.items() if error is None} == refused
    assert max(error for error in found.values() if error is not None) < TOLERANCE
