"""Folders that people point at, made of a sound checkpoint: what is on disk, and words of the sentence that it gets.

`BROKEN` are checkpoints that nothing can compute with, `SOUND` odd ones that compute what the clean checkpoint
computes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

WEIGHTS, CONFIG = "model.safetensors", "config.json"
Change = Callable[[Path], object]


@dataclass(frozen=True)
class Odd:
    """`change` turns the sound checkpoint of a `family` in a folder into an odd one; `says` is in its sentence."""

    change: Change
    says: str = ""
    family: str = "gpt2"


def config(**changes: object) -> Change:
    """Keys of config.json set, or taken out where the value is None."""

    def change(folder: Path) -> None:
        now = json.loads((folder / CONFIG).read_text()) | changes
        (folder / CONFIG).write_text(
            json.dumps({key: value for key, value in now.items() if value is not None or key not in changes})
        )

    return change


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    """The stored tensors changed in place, or replaced by what `change` returns."""

    def changed(folder: Path) -> None:
        held = load_file(folder / WEIGHTS)
        found = change(held)
        held = found if isinstance(found, dict) else held
        save_file(
            {name: value.contiguous().clone() for name, value in held.items()}, folder / WEIGHTS, {"format": "pt"}
        )

    return changed


def rename(new: Callable[[str], str]) -> Change:
    """Every stored tensor under another name."""
    return weights(lambda held: {new(name): value for name, value in held.items()})


def both(*changes: Change) -> Change:
    """One change after the other."""
    return lambda folder: [change(folder) for change in changes]


def drop(*parts: str) -> Change:
    """Without the tensors whose names hold one of these."""
    return weights(lambda held: {n: v for n, v in held.items() if not any(part in n for part in parts)})


def put(name: str, *shape: int, dtype: torch.dtype = torch.float16) -> Change:
    """With a tensor of small values under this name."""
    return weights(lambda held: held.update({name: torch.full(shape, 0.01, dtype=dtype)}))


def shorten(folder: Path) -> None:
    """The last bytes of the weights cut off, as by a full disk."""
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes()[:-100])


def lengthen(folder: Path) -> None:
    """Bytes behind the last tensor, which safetensors refuses."""
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes() + b"more")


def classify(classes: int, **more: object) -> Change:
    """A head of so many rows."""
    return both(
        put("classifier.weight", classes, 16),
        put("classifier.bias", classes),
        config(**more),
    )


_LORA = "transformer.h.0.attn.c_attn.lora_A.default.weight"
_LABELS: dict[str, Any] = {"id2label": {"0": "negative", "1": "positive"}, "label2id": {"negative": 0, "positive": 1}}

BROKEN = {
    "a pointer of Git LFS": Odd(
        lambda folder: (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"
    ),
    "a truncated file": Odd(shorten, "is truncated, damaged or no safetensors file"),
    "a file that is too long": Odd(lengthen, "is truncated, damaged or no safetensors file"),
    "a block that is missing": Odd(drop("h.1."), "lacks weights that a GPT2LMHeadModel reads (transformer.h.1."),
    "a norm that is missing": Odd(drop("ln_f"), "lacks weights that a GPT2LMHeadModel reads (transformer.ln_f.bias"),
    "a config of more blocks": Odd(config(n_layer=4), "lacks weights that a GPT2LMHeadModel reads (transformer.h.2."),
    "a config of fewer blocks": Odd(
        config(n_layer=1),
        "of the size in config.json does not read (transformer.h.1.",
    ),
    "a matrix of another shape": Odd(
        put("transformer.wpe.weight", 3, 16), "transformer.wpe.weight of shape 3 x 16 and config.json says 64 x 16"
    ),
    "a vocabulary smaller than the config's": Odd(
        put("transformer.wte.weight", 100, 16), "has an embedding of 100 tokens (transformer.wte.weight) and"
    ),
    "tensors without values": Odd(put("transformer.h.0.mlp.c_fc.weight", 0), "without values (first: transformer.h.0"),
    "a head that is missing": Odd(drop("lm_head"), "lacks the head of a LlamaForCausalLM (lm_head.weight)", "llama"),
    "a head that is not tied": Odd(config(tie_word_embeddings=False), "lacks the head of a GPT2LMHeadModel"),
    "names of another library": Odd(
        rename(lambda name: name.replace("transformer.h.", "decoder.blocks.")), "lacks weights that a GPT2LMHeadModel"
    ),
    "an adapter that is not merged": Odd(put(_LORA, 2, 16), "holds an adapter that is not merged"),
    "weights twice": Odd(put("_orig_mod.transformer.ln_f.weight", 16), "holds the weights of one module twice"),
    "a number that is none": Odd(config(layer_norm_epsilon=float("nan")), "has layer_norm_epsilon = nan"),
    "an infinite number": Odd(config(rms_norm_eps=float("inf")), "has rms_norm_eps = inf", "llama"),
    "heads that do not divide the width": Odd(config(n_head=5), "cannot be opened"),
    "no heads": Odd(config(num_attention_heads=0), "cannot be opened", "llama"),
    "a width of words": Odd(config(n_embd="wide"), "has no usable hidden_size"),
    "an unknown activation": Odd(config(activation_function="sine"), "cannot be opened"),
    "a number that is a word": Odd(config(rms_norm_eps="small"), "expected float, got str", "llama"),
    "a config that is no JSON": Odd(lambda folder: (folder / CONFIG).write_text("{,}"), "cannot be read as JSON"),
    "a config of nothing": Odd(
        config(architectures=None, model_type=None), "names neither architectures nor model_type"
    ),
    "an unknown class": Odd(
        config(architectures=["T5ForConditionalGeneration"], model_type="t5"),
        "is a T5ForConditionalGeneration, which is not",
    ),
    "a class of one's own": Odd(
        config(architectures=["MyBert"]), 'set architectures to ["BertForSequenceClassification"] there', "bert"
    ),
    "an encoder that masks later tokens": Odd(
        config(is_decoder=True), "has is_decoder = true, with which an encoder reads earlier tokens only", "bert"
    ),
    "a class of another type": Odd(
        config(architectures=["MistralForCausalLM"]), 'MistralForCausalLM and model_type = "llama"', "llama"
    ),
    "quantized to 4 bits": Odd(
        both(put("model.layers.0.mlp.up_proj.weight", 320, 1, dtype=torch.uint8), config(quantization_config={"a": 1})),
        "is quantized (model.layers.0.mlp.up_proj.weight is stored as U8)",
        "llama",
    ),
    "quantized with scales": Odd(
        put("model.layers.0.mlp.up_proj.weight_scale", 40), "is quantized (model.layers.0.mlp.up_proj.weight_s", "llama"
    ),
    "quantized without a word in the config": Odd(
        put("transformer.h.0.mlp.c_fc.weight", 16, 64, dtype=torch.int8), "is stored as I8"
    ),
    "a classifier without its head": Odd(
        drop("classifier"), "lacks the head of a BertForSequenceClassification (classifier.bias", "bert"
    ),
    "a classifier without its pooler": Odd(
        drop("pooler"), "lacks weights that a BertForSequenceClassification reads (bert.pooler", "bert"
    ),
    "a head that its class leaves unread": Odd(
        config(architectures=["BertModel"]), "names a BertModel, which leaves the stored head (classifier.", "bert"
    ),
    "a head that a masked model leaves unread": Odd(
        config(architectures=["BertForMaskedLM"]), 'set architectures to ["BertForSequenceClassification"]', "bert"
    ),
    "a score that a language model leaves unread": Odd(
        put("score.weight", 2, 16), "leaves the stored head (score.weight) unread"
    ),
    "more rows than names": Odd(
        classify(3, **_LABELS), "has a head of 3 classes and id2label in config.json has 2", "bert"
    ),
    "a head of three for two words": Odd(
        classify(3, id2label={str(i): f"LABEL_{i}" for i in range(3)}, label2id=None),
        "has a head of 3 classes and the study has 2 label words",
        "bert",
    ),
    "a regression": Odd(classify(1, id2label={"0": "LABEL_0"}, label2id=None), "predicts a number", "bert"),
    "a regression by name": Odd(config(problem_type="regression"), "problem_type is regression", "bert"),
    "rows with a hole": Odd(config(id2label={"0": "bad", "2": "good"}), "has the rows 0, 2", "bert"),
    "rows that are no numbers": Odd(config(id2label={"bad": 0, "good": 1}), "is not the number of a row", "bert"),
    "rows of one name": Odd(config(id2label={"0": "good", "1": "good"}), "gives two rows one name", "bert"),
    "names in two orders": Odd(
        config(id2label={"0": "bad", "1": "good"}, label2id={"good": 0, "bad": 1}), "and label2id in row 1", "bert"
    ),
}


def wrapped(*prefixes: str) -> Change:
    return rename(lambda name: "".join(prefixes) + name)


def byte_order_mark(folder: Path) -> None:
    for name in (CONFIG, "tokenizer_config.json", "tokenizer.json"):
        (folder / name).write_text((folder / name).read_text(encoding="utf-8"), encoding="utf-8-sig")


_RUN = {"return_dict": False, "torchscript": True, "output_attentions": True, "output_hidden_states": True}
_RUN |= {"use_cache": False, "dtype": "torch.bfloat16", "chunk_size_feed_forward": 4, "gradient_checkpointing": True}
_LEFTOVER = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
_FAMILIES = ("gpt2", "llama", "bert")
_PREFIXES = {
    "torch.compile": wrapped("_orig_mod."),
    "DDP": wrapped("module."),
    "DDP of a compiled model": wrapped("module._orig_mod."),
    "a compiled DDP": wrapped("_orig_mod.module."),
    "FSDP": rename(lambda name: name.replace(".", "._fsdp_wrapped_module.", 1)),
    "compiled parts": rename(lambda name: name.replace(".0.", ".0._orig_mod.")),
    "Lightning": wrapped("_forward_module.model."),
    "a class of one's own": wrapped("model."),
}
SOUND = {
    **{f"{name} of {family}": Odd(one, family=family) for name, one in _PREFIXES.items() for family in _FAMILIES},
    **{
        f"{name} of {family}": Odd(one, family=family)
        for family in _FAMILIES
        for name, one in {
            "leftover quantization": config(quantization_config=_LEFTOVER),
            "no class": config(architectures=None),
            "settings of a run": config(**_RUN),
            "a class of PEFT": config(architectures=["PeftModelForSequenceClassification"]),
            "a class marked by FSDP": lambda folder: config(
                architectures=["FSDP" + json.loads((folder / CONFIG).read_text())["architectures"][0]]
            )(folder),
            "no type": config(model_type=None),
            "a mark of byte order": byte_order_mark,
        }.items()
    },
    "a value head beside": Odd(lambda folder: save_file({"v": torch.zeros(2)}, folder / "value_head.safetensors")),
    "a value head inside": Odd(put("v_head.summary.weight", 1, 16)),
    "masks of old files": Odd(put("transformer.h.0.attn.bias", 1, 1, 64, 64, dtype=torch.uint8)),
    "angles of old files": Odd(put("model.layers.0.self_attn.rotary_emb.inv_freq", 2), family="llama"),
    "a body saved alone": Odd(rename(lambda name: name.removeprefix("transformer."))),
    "names of old files": Odd(rename(lambda name: name.replace("Norm.weight", "Norm.gamma")), family="bert"),
    "a tied head stored twice": Odd(
        both(
            weights(lambda held: held.update({"lm_head.weight": held["transformer.wte.weight"]})), wrapped("_orig_mod.")
        )
    ),
    "a tied head stored alone": Odd(
        both(rename(lambda name: name.replace("transformer.wte", "lm_head")), wrapped("_orig_mod."))
    ),
    "three empty folders beside": Odd(lambda folder: [(folder / f"logs-{i}").mkdir() for i in range(3)]),
}
