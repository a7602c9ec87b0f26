"""A byte-level tokenizer, and the readers of a study with a base only."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from backend.study.config import PromptSpec
from backend.study.facts import Reading
from backend.study.prompts import Readers
from backend.study.reader import plain_reader


def bytes_tokenizer(special: bool = False) -> Tokenizer:
    """A byte-level BPE trained on a few words, with a start token in front where `special`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(["Review: a film Sentiment: negative positive"] * 4, trainer)
    if special:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return tokenizer


def alone(tokenizer: Tokenizer, spec: PromptSpec, family: Reading = "causal") -> Readers:
    """Readers of a study with a base only."""
    return Readers({"base": plain_reader(tokenizer, spec, family)})
