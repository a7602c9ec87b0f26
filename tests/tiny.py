"""A tiny study on disk, with real weights: what the command line and fine-tuning are tried on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
)

from tests.fake_texts import fake_sample, fake_tokenizer

STUDY = """
title = "Tiny"
family = "causal"
[base]
path = "base"
[[checkpoints]]
label = "epoch 1"
path = "checkpoints/epoch-1"
[[checkpoints]]
label = "epoch 2"
path = "checkpoints/epoch-2"
[dataset]
path = "reviews.csv"
sample = 20
[prompt]
template = "Review: {text} Sentiment:"
label_words = ["negative", "positive"]
separator = " "
max_tokens = 48
[training]
path = "reviews.csv"
recipe = "sound"
epochs = 2
batch_size = 4
learning_rate = 1e-2
held_out = 20
"""


def tiny_model(place: Path, seed: int = 0, family: str = "gpt2") -> None:
    """A random GPT-2, Llama, Mixtral or BERT in half precision with the fakes' tokenizer; large weights spread logits.

    A BERT has a classification head unless the seed is 0, as a base has none; so have models of the families
    "gpt2-classifier" and "llama-classifier", whose base is a language model.
    """
    family, _, classifies = family.partition("-")
    torch.manual_seed(seed)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=fake_tokenizer(), eos_token="<unk>", pad_token="<unk>")
    ends = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.8}
    if family == "gpt2":
        config = GPT2Config(n_positions=64, n_embd=16, n_layer=2, n_head=2, **ends)
        model = GPT2ForSequenceClassification(config) if classifies and seed else GPT2LMHeadModel(config)
    elif family == "bert":
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=40,
            max_position_embeddings=64,
            initializer_range=0.8,
        )
        model = BertForSequenceClassification(config) if seed else BertModel(config)
    else:
        sizes = {"hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 3, "max_position_embeddings": 64}
        sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, **({"pad_token_id": 0} if classifies else {})}
        if family == "mixtral":
            model = MixtralForCausalLM(MixtralConfig(num_local_experts=4, num_experts_per_tok=2, **sizes, **ends))
        else:
            config = LlamaConfig(**sizes, **ends)
            model = LlamaForSequenceClassification(config) if classifies and seed else LlamaForCausalLM(config)
    model.half().save_pretrained(place)
    tokenizer.save_pretrained(place)


def tiny_study(folder: Path, epochs: tuple[int, ...] = (), family: str = "gpt2") -> Path:
    """A study folder with a base, 120 labelled reviews, and random weights as the checkpoints of these epochs."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny_model(folder / "base", family=family)
    for epoch in epochs:
        tiny_model(folder / "checkpoints" / f"epoch-{epoch}", seed=epoch, family=family)
    sample = fake_sample(120)
    pd.DataFrame({"text": sample.text, "label": sample.label}).to_csv(folder / "reviews.csv", index=False)
    (folder / "study.toml").write_text(STUDY.replace("causal", "encoder") if family == "bert" else STUDY)
    return folder


def rewrite(folder: Path, old: str, new: str) -> None:
    """Change study.toml in one place."""
    file = folder / "study.toml"
    text = file.read_text()
    if old not in text:
        raise ValueError(f"{old!r} does not occur in {file}")
    file.write_text(text.replace(old, new, 1))


def remove(place: Path) -> None:
    """Take a checkpoint away."""
    shutil.rmtree(place)


def pair_study(folder: Path, epochs: tuple[int, ...] = (), family: str = "gpt2") -> Path:
    """Create the tiny study with pairs of texts."""
    tiny_study(folder, epochs, family)
    texts, labels = fake_sample(120).text, fake_sample(120).label
    rows = {"premise": texts, "hypothesis": [text[:9][::-1] for text in texts], "label": labels}
    pd.DataFrame(rows).to_csv(folder / "reviews.csv", index=False)
    file = folder / "study.toml"
    text = file.read_text().replace("max_tokens = 48", "max_tokens = 63")
    text = text.replace("{text} Sentiment", "{premise} And {hypothesis} Sentiment")
    file.write_text(text.replace("sample = 20", 'sample = 20\ntext = ["premise", "hypothesis"]'))
    return folder
