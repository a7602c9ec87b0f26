"""What files tell about a checkpoint without opening it: architecture, sizes, head, and what answers. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal


def body_of(architecture: str) -> str:
    """The class of a model without its head: what two checkpoints must share to be compared."""
    stem = architecture.partition("For")[0].removesuffix("Model").removesuffix("LMHead")
    return f"{stem}Model"


@dataclass(frozen=True)
class Facts:
    """What config and weight headers tell without opening a model; `layers` is L, the number of blocks.

    `kind` is what `family` in study.toml says; `has_head` is False for a model without a head that answers, whose
    residuals can be compared. `answers` is how many classes a classification head has, and `head_names` their names in
    the order of its rows (`id2label`), empty where the config names none. `token_types` counts the kinds of tokens by
    which an encoder tells the texts of a pair apart (BERT has two).
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

    @property
    def predicts(self) -> bool:
        """Whether the model predicts next tokens: a causal model with a language-modelling head."""
        return self.kind == "causal" and self.has_head and self.answers is None

    @property
    def headless(self) -> str:
        """What a model that answers nothing is, in words."""
        return f"{'an encoder' if self.kind == 'encoder' else 'a causal model'} without a classification head"

    @property
    def body(self) -> Facts:
        """The same model without its head."""
        return replace(self, architecture=body_of(self.architecture), has_head=False, answers=None, head_names=())


Reading = Literal["causal", "encoder", "classifier"]
"""What answers in a study: next-token predictions, or a classification head, read at the first or the last token."""


def reading(family: str, facts: Iterable[Facts]) -> Reading:
    """What answers in a study of these models: classification heads where any causal model has one, or none a head."""
    if family == "encoder":
        return "encoder"
    several = list(facts)
    heads = any(one.answers is not None for one in several) or not any(one.predicts for one in several)
    return "classifier" if heads else "causal"


BODY = "-body"
"""Ends the fingerprint of a causal model that is read without the head that it has."""
