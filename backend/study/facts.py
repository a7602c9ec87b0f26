"""Facts about a checkpoint from its files: architecture, sizes, head, and the source of predictions. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def body_of(architecture: str) -> str:
    """Return the class of a model without its head; comparable checkpoints share it."""
    stem = architecture.partition("For")[0].removesuffix("Model").removesuffix("LMHead").removesuffix("Text")
    return f"{stem}Model"


@dataclass(frozen=True)
class Facts:
    """Facts from config and weight headers, without opening a model; `layers` is L, the number of blocks.

    `kind` corresponds to `family` in study.toml. `has_head` is False for a model without a head for predictions; its
    residuals can be compared. `answers` is the number of classes of a classification head, and `head_names` are their
    names in the order of its rows (`id2label`), empty without names. `token_types` is the number of token types of an
    encoder, which mark the texts of a pair (BERT has two). `stored` is the dtype of most weights in the files.
    `asked` is False in a study that asks for no answers. `adapter` says that the files are a PEFT adapter. `longest` is
    the most tokens that a prompt may have, None without a limit. `readable` counts the tokens that the model can read,
    the first of its vocabulary; None for all.
    """

    architecture: str
    layers: int
    width: int
    vocabulary: int
    parameters: int
    kind: str = "causal"
    has_head: bool = True
    answers: int | None = None
    head_names: tuple[str, ...] = ()
    token_types: int = 1
    stored: str = "float32"
    asked: bool = True
    adapter: bool = False
    longest: int | None = None
    readable: int | None = None

    @property
    def replies(self) -> bool:
        """Return whether the model answers in label words: it has a head, and the study asks."""
        return self.has_head and self.asked

    @property
    def predicts(self) -> bool:
        """Return whether the model predicts next tokens: a causal model with a language-modelling head."""
        return self.kind == "causal" and self.has_head and self.answers is None

    def memory(self, dtype: str) -> int:
        """Return the bytes of the weights in memory."""
        return self.parameters * _BYTES[dtype]

    @property
    def headless(self) -> str:
        """Describe a model without a head for predictions."""
        return f"{'an encoder' if self.kind == 'encoder' else 'a causal model'} without a classification head"

    @property
    def body(self) -> Facts:
        """Return the facts of the model without its head."""
        return replace(self, architecture=body_of(self.architecture), has_head=False, answers=None, head_names=())


Reading = Literal["causal", "encoder", "classifier"]
"""Source of predictions: next tokens, or a classification head at the first or the last token."""


def reading(family: str, facts: Iterable[Facts]) -> Reading:
    """Return the source of predictions: classification heads if a causal model has one, or if none has a head."""
    if family == "encoder":
        return "encoder"
    models = list(facts)
    heads = any(model.answers is not None for model in models) or not any(model.predicts for model in models)
    return "classifier" if heads else "causal"


BODY = "-body"
"""Suffix of the fingerprint of a causal model that is used without its head."""
