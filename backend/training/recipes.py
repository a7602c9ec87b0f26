"""Turn labelled texts into training rows and a loss: the original recipe as published, and a sound one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset
from transformers import Trainer

from backend.errors import PromptError
from backend.study.config import Study
from backend.study.pairs import Input, in_order, joined
from backend.study.reader import Reader, fill, plain_reader

IGNORED = -100


@dataclass(frozen=True)
class Recipe:
    """Settings of a recipe besides its rows and its loss."""

    accumulate: int
    warmup_steps: int
    weight_decay: float
    scheduler: str


RECIPES = {
    "as-published": Recipe(accumulate=4, warmup_steps=500, weight_decay=0.01, scheduler="linear"),
    "sound": Recipe(accumulate=1, warmup_steps=100, weight_decay=0.01, scheduler="cosine"),
}


class LabelledPrompts(Dataset):
    """Training rows: `input_ids`, with the recipe's `answer` mask, `attention_mask` or `class`."""

    def __init__(self, rows: Sequence[dict[str, list[int]]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return self.rows[index]


def sound_rows(
    study: Study, tokenizer: Tokenizer, texts: Sequence[Input], labels: Int64[np.ndarray, " texts"], context: int
) -> LabelledPrompts:
    """Return rows of the prompt exactly as in the analyses, then the label word, which is never truncated."""
    reader = plain_reader(tokenizer, study.prompt, study.family)
    longest = study.prompt.max_tokens + max(map(len, fill(reader, "").words))
    if longest > context:
        raise PromptError(
            f"A prompt of {study.prompt.max_tokens} tokens and its label word need {longest} positions, but the model "
            f"has {context}; lower prompt.max_tokens to {context - longest + study.prompt.max_tokens}."
        )
    rows: list[dict[str, list[int]]] = []
    for text, label in zip(texts, labels.tolist(), strict=True):
        filled = fill(reader, text)
        prompt, answer = filled.ids, filled.words[label]
        rows.append({"input_ids": [*prompt, *answer], "answer": [0] * len(prompt) + [1] * len(answer)})
    return LabelledPrompts(rows)


def published_rows(
    study: Study, tokenizer: Tokenizer, texts: Sequence[Input], labels: Int64[np.ndarray, " texts"], pad: int
) -> LabelledPrompts:
    """Return the original recipe's rows: prompt and label word, padded or cut to `max_tokens`, padding trained on."""
    length, reader = study.prompt.max_tokens, plain_reader(tokenizer, study.prompt, study.family)
    rows: list[dict[str, list[int]]] = []
    for text, label in zip(texts, labels.tolist(), strict=True):
        pieces, parts = study.prompt.pieces, in_order(study.prompt, text)
        prompt = pieces[0] + joined(study.prompt, parts) + pieces[-1]
        ids = tokenizer.encode(prompt + reader.endings[label]).ids[:length]
        padding = length - len(ids)
        rows.append({"input_ids": ids + [pad] * padding, "attention_mask": [1] * len(ids) + [0] * padding})
    return LabelledPrompts(rows)


def classified_rows(reader: Reader, texts: Sequence[Input], labels: Int64[np.ndarray, " texts"]) -> LabelledPrompts:
    """An encoder's rows: the prompt exactly as the analyses see it, token types included, and its class."""
    rows: list[dict[str, list[int]]] = []
    for text, label in zip(texts, labels.tolist(), strict=True):
        filled = fill(reader, text)
        types = {"token_type_ids": list(filled.types)} if reader.token_types else {}
        rows.append({"input_ids": list(filled.ids), "class": [label], **types})
    return LabelledPrompts(rows)


@dataclass(frozen=True)
class Collate:
    """Pads rows on the right; rows without an attention mask get one, and their padding is not trained on.

    Labels are the tokens, or the class of each row if rows have one.
    """

    pad: int

    def __call__(self, rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        """Tensors [batch, tokens]: input_ids, attention_mask, labels; answer, token_type_ids where rows have them."""
        longest = max(len(row["input_ids"]) for row in rows)

        def padded(key: str, value: int) -> torch.Tensor:
            return torch.tensor([row[key] + [value] * (longest - len(row[key])) for row in rows])

        ids = padded("input_ids", self.pad)
        if "attention_mask" in rows[0]:  # as published: labels are the inputs, padding included
            return {"input_ids": ids, "attention_mask": padded("attention_mask", 0), "labels": ids.clone()}
        mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows])
        if "class" in rows[0]:
            types = {"token_type_ids": padded("token_type_ids", 0)} if "token_type_ids" in rows[0] else {}
            classes = torch.tensor([row["class"][0] for row in rows])
            return {"input_ids": ids, "attention_mask": mask, "labels": classes, **types}
        labels = ids.masked_fill(mask == 0, IGNORED)
        return {"input_ids": ids, "attention_mask": mask, "labels": labels, "answer": padded("answer", 0)}


def sound_loss(logits: torch.Tensor, labels: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
    """Return the mean loss over all real tokens plus the mean over answer tokens, in nats.

    Logits are [batch, tokens, vocabulary].
    """
    target = labels[:, 1:].reshape(-1)
    each = cross_entropy(
        logits[:, :-1].float().reshape(-1, logits.shape[-1]), target, ignore_index=IGNORED, reduction="none"
    )
    real = target != IGNORED
    answers = answer[:, 1:].reshape(-1).bool()
    return each[real].mean() + each[answers].mean()


class SoundTrainer(Trainer):
    """The Hugging Face Trainer with the sound loss."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.model_accepts_loss_kwargs = False  # the loss is a mean per batch, so accumulation must divide it

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the sound loss of one batch."""
        answer, labels = inputs.pop("answer"), inputs.pop("labels")
        outputs = model(**inputs, use_cache=False)
        loss = sound_loss(outputs.logits, labels, answer)
        return (loss, outputs) if return_outputs else loss
