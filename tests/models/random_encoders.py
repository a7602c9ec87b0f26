"""Tiny random encoders, BERT, RoBERTa and DistilBERT, and prompts for them."""

from __future__ import annotations

import numpy as np
import torch
import transformers
from transformers import BertConfig, DistilBertConfig, PreTrainedModel, RobertaConfig

from backend.study.token_ids import Prompts
from tests.fake_texts import fake_tokenizer
from tests.models.random_models import LAYERS, POSITIONS, WIDTH

NAMES = ("Bert", "Roberta", "DistilBert")
HEADS = ("ForSequenceClassification", "ForMaskedLM", "Model")


def encoder(name: str, head: str = "ForSequenceClassification", seed: int = 0, classes: int = 2) -> PreTrainedModel:
    """A random encoder whose logits spread, norms and biases random too."""
    torch.manual_seed(seed)
    shared = {"vocab_size": fake_tokenizer().get_vocab_size(), "num_labels": classes, "initializer_range": 0.3}
    if name == "DistilBert":
        sizes = {"dim": WIDTH, "n_layers": LAYERS, "n_heads": 4, "hidden_dim": 48}
        config = DistilBertConfig(max_position_embeddings=POSITIONS, **sizes, **shared)
    else:
        kind, extra = (BertConfig, 0) if name == "Bert" else (RobertaConfig, 2)
        sizes = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": 48}
        config = kind(max_position_embeddings=POSITIONS + extra, pad_token_id=1 if extra else 0, **sizes, **shared)
    model = getattr(transformers, name + head)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def some_prompts(classes: int = 2) -> Prompts:
    """Prompts of very different lengths, without the padding tokens that RoBERTa counts positions by."""
    generator = np.random.default_rng(0)
    size = fake_tokenizer().get_vocab_size()
    lengths = [1, POSITIONS, 5, 33, 12, 7, 60, 20]
    labels = np.arange(len(lengths), dtype=np.int64) % classes
    ids = tuple(tuple(generator.integers(2, size, length).tolist()) for length in lengths)
    return Prompts("digest", ids, labels, tuple(range(classes)), labels.astype(bool), "first")
