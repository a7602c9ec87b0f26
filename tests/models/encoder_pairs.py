"""A study of pairs of texts on encoders, with tokenizers of the published classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
from tokenizers.pre_tokenizers import ByteLevel

from tests.models.random_models import LAYERS, POSITIONS, WIDTH

LETTERS = "abcdefghijklmnopqrstuvwxyz"
STUDY = """
title = "Pairs"
family = "encoder"
base = { path = "base" }
dataset = { path = "pairs.csv", text = ["premise", "hypothesis"], sample = 12 }
prompt = { template = "{premise} {hypothesis}", label_words = ["no", "yes"], max_tokens = 40 }
[[checkpoints]]
label = "tuned"
path = "tuned"
"""


def tokenizer(name: str) -> Any:
    """A tokenizer of letters, of the class that the architecture is published with."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if name != "Roberta":
        words = [*special, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
        return getattr(transformers, f"{name}Tokenizer")(vocab={word: i for i, word in enumerate(words)})
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(ByteLevel.alphabet())]
    return transformers.RobertaTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[])


def save_encoder(name: str, folder: Path, seed: int, tokens: Any) -> None:
    """A random classifier of the family, all weights and norms so large that answers spread."""
    torch.manual_seed(seed)
    shared = {"vocab_size": len(tokens), "num_labels": 2, "initializer_range": 0.5}
    if name == "DistilBert":
        sizes = {"dim": WIDTH, "n_layers": LAYERS, "n_heads": 4, "hidden_dim": 48}
    else:
        sizes = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": 48}
    if name == "Roberta":
        shared |= {"pad_token_id": 1, "type_vocab_size": 1}
    config = getattr(transformers, f"{name}Config")(max_position_embeddings=POSITIONS + 2, **sizes, **shared)
    getattr(transformers, f"{name}ForSequenceClassification")(config).save_pretrained(folder)
    tokens.save_pretrained(folder)


def pair_study(folder: Path, name: str, tokens: Any = None) -> Path:
    """A study of pairs of texts on two random classifiers."""
    tokens = tokens or tokenizer(name)
    save_encoder(name, folder / "base", 0, tokens)
    save_encoder(name, folder / "tuned", 1, tokens)
    draw = np.random.default_rng(0)
    texts = [["".join(draw.choice(list(LETTERS + " "), n)).strip() + "x" for n in (9, 6)] for _ in range(24)]
    first, second = zip(*texts, strict=True)
    pd.DataFrame({"premise": first, "hypothesis": second, "label": [i % 2 for i in range(24)]}).to_csv(
        folder / "pairs.csv", index=False
    )
    (folder / "study.toml").write_text(STUDY)
    return folder
