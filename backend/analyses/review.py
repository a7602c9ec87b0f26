"""How does a checkpoint read a typed text? Its answer, and its logit difference by layer and token.

Nothing goes to disk: the recipes are private, and the cache provides only the readouts of the sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from jaxtyping import Float, Float32, Int

from backend.caching.memoize import memoized
from backend.lab.lab import Lab
from backend.stats import metrics, pca
from backend.stats.rows import cell, of_class
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts
from backend.vocabulary.display import name

TOP = 5


@dataclass(frozen=True)
class Query:
    """One checkpoint reads one text: `text` is its prompt alone, `prompts` are those of the sample.

    `reference` provides the head of the second and third reading. `drop_largest` dimensions, those of largest mean
    |activation| in the reference, are left out of projections and neighbours.
    """

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    text: Prompts
    prompts: Prompts
    drop_largest: int = 0
    nearest: int = 5


@dataclass(frozen=True, eq=False)
class Result:
    """The text at the readout position. Two classes have one direction (class 1 - class 0), more have one per class.

    `probability` of each label word among the label words (0..1). The logit difference per layer in nats: `logit_diff`
    through the checkpoint's own final norm and head, whose last value is the model's answer;
    `logit_diff_reference_head` through its own norm and the reference's head; `logit_diff_no_norm` through that head
    alone. `place` is the projection on the checkpoint's class direction: 0 at one class mean of the sample and 1 at the
    other, NaN without a direction. `neighbours` are positions in the sample, nearest first, by `cosine` (-1..1)
    of both residuals minus the sample's mean; NaN at layers without text. The text itself is left out.
    """

    probability: Float[np.ndarray, " classes"]
    logit_diff: Float[np.ndarray, "layers directions"]
    logit_diff_reference_head: Float[np.ndarray, "layers directions"]
    logit_diff_no_norm: Float[np.ndarray, "layers directions"]
    place: Float[np.ndarray, "layers directions"]
    neighbours: Int[np.ndarray, "layers nearest"]
    cosine: Float[np.ndarray, "layers nearest"]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per layer, and per class if there are more than two."""
        layers, directions = self.logit_diff.shape
        for layer in range(layers):
            for c in range(directions):
                yield {
                    "checkpoint": query.checkpoint.label,
                    "reference": query.reference.label,
                    "layer": layer,
                    **of_class(c, directions),
                    "logit_diff": cell(self.logit_diff[layer, c]),
                    "logit_diff_reference_head": cell(self.logit_diff_reference_head[layer, c]),
                    "logit_diff_no_norm": cell(self.logit_diff_no_norm[layer, c]),
                    "projection": cell(self.place[layer, c]),
                }

    def answers(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per class: the probability of its label word."""
        for c, value in enumerate(self.probability):
            yield {"checkpoint": query.checkpoint.label, "class": c, "probability": cell(value)}


@memoized(version=1, private=True)
def recipe(query: Query, lab: Lab) -> Result:
    """Read the text, apply both heads, project on the direction, and find the nearest reviews."""
    checkpoint = query.checkpoint
    read = lab.models.readout(checkpoint, query.text, lab.part(0, 4).progress)
    lab.progress(0.25, f"Reading every layer with the head of {query.reference.label}.")

    def logit_diff(head: PinnedCheckpoint, norm: PinnedCheckpoint | None) -> Float[np.ndarray, "layers directions"]:
        if not head.facts.replies:
            return np.full((read.residuals.shape[1], len(metrics.contrasts(query.text.classes))), np.nan)
        return metrics.logit_diff(lab.answers(read.reading[:, 0], query.text, head, norm))

    own = logit_diff(checkpoint, checkpoint)
    reference_head = own if checkpoint == query.reference else logit_diff(query.reference, checkpoint)
    no_norm = logit_diff(query.reference, None)
    sample = _sample(query, lab.part(2, 4))
    x = metrics.without_largest(read.residuals, sample.largest_of, query.drop_largest)
    lab.progress(0.75, f"Looking for {checkpoint.label}'s nearest texts.")
    typed, known = (prompts.seen_by(checkpoint).token_ids for prompts in (query.text, query.prompts))
    same = [i for i, ids in enumerate(known) if ids == typed[0]]
    neighbours, cosine = nearest(x[0], sample.residuals, same, query.nearest)
    return Result(
        probability=scipy.special.softmax(read.logits[0].astype(np.float64)) if query.text.asks else np.empty(0),
        logit_diff=own,
        logit_diff_reference_head=reference_head,
        logit_diff_no_norm=no_norm,
        place=pca.places(x[0], sample.residuals, query.prompts.labels, query.prompts.classes),
        neighbours=neighbours,
        cosine=cosine,
    )


@dataclass(frozen=True, eq=False)
class _Sample:
    """The sample's residuals without the largest dimensions, and the residuals that define these."""

    residuals: metrics.Residuals
    largest_of: metrics.Residuals


def _sample(query: Query, lab: Lab) -> _Sample:
    residuals = lab.part(0, 2).readout(query.checkpoint, query.prompts).residuals
    if not query.drop_largest:
        return _Sample(residuals, residuals)
    largest_of = lab.part(1, 2).readout(query.reference, query.prompts).residuals
    return _Sample(metrics.without_largest(residuals, largest_of, query.drop_largest), largest_of)


def nearest(
    residuals: Float[np.ndarray, "layers width"], sample: metrics.Residuals, same: Sequence[int], count: int
) -> tuple[Int[np.ndarray, "layers nearest"], Float[np.ndarray, "layers nearest"]]:
    """Return the `count` nearest reviews at every layer and their cosines, after subtracting the sample's mean.

    Without centring all cosines are near 1, because residuals share a large mean (Ethayarajh 2019).
    """
    mean = sample.mean(axis=0, dtype=np.float64)
    cosines = np.stack(
        [metrics.cosine(sample[:, layer] - mean[layer], x - mean[layer]) for layer, x in enumerate(residuals)]
    )
    cosines[metrics.constant_layers(sample)] = np.nan
    ranked = cosines.copy()
    ranked[:, list(same)] = -np.inf
    order = np.argsort(-ranked, axis=1, kind="stable")[:, : min(count, len(sample) - len(same))]
    return order, np.take_along_axis(cosines, order, axis=1)


@dataclass(frozen=True, eq=False)
class Tokens:
    """The text at every token and layer: the prompt's tokens, template included.

    `logit_diff` and `place` as in Result, through the checkpoint's own norm and head and along its direction (of
    the readout position, applied at all tokens); `norm` is the residual's l2 norm, at the first token often a hundred
    times larger than at others; `next_probability` (0..1) of the actual next token, NaN at the
    last. `top` are the likeliest next tokens, as places among `words` (␣ is a space), with `top_probability` (0..1).
    """

    logit_diff: Float[np.ndarray, "tokens layers directions"]
    place: Float[np.ndarray, "tokens layers directions"]
    norm: Float[np.ndarray, "tokens layers"]
    next_probability: Float32[np.ndarray, "tokens layers"]
    top: Int[np.ndarray, "tokens layers top"]
    top_probability: Float32[np.ndarray, "tokens layers top"]
    words: tuple[str, ...]

    @property
    def relative(self) -> Float[np.ndarray, "tokens layers"]:
        """The norm over the median of the layer's tokens."""
        return metrics.ratio(self.norm, np.median(self.norm, axis=0))

    def rows(self, query: Query, pieces: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield one row per token and layer, and per class if there are more than two."""
        tokens, layers, directions = self.logit_diff.shape
        relative = self.relative
        for t in range(tokens):
            for layer in range(layers):
                best = {f"top_{k + 1}": self.words[w] for k, w in enumerate(self.top[t, layer].tolist())}
                for c in range(directions):
                    yield {
                        "checkpoint": query.checkpoint.label,
                        "position": t,
                        "token": pieces[t],
                        "layer": layer,
                        **of_class(c, directions),
                        "logit_diff": cell(self.logit_diff[t, layer, c]),
                        "projection": cell(self.place[t, layer, c]),
                        "norm": cell(self.norm[t, layer]),
                        "norm_relative": cell(relative[t, layer]),
                        "next_probability": cell(self.next_probability[t, layer]),
                        **best,
                    }


@memoized(version=3, private=True)
def tokens(query: Query, lab: Lab) -> Tokens:
    """Read the text at every token and layer."""
    checkpoint = query.checkpoint
    read = lab.models.read_text(checkpoint, query.text, TOP, lab.part(0, 2).progress)
    sample = _sample(query, lab.part(1, 2))
    x = metrics.without_largest(read.residuals, sample.largest_of, query.drop_largest)
    used, top = np.unique(read.top_tokens, return_inverse=True)
    tokenizer = lab.models.tokenizer(checkpoint.ref, checkpoint.base)
    return Tokens(
        logit_diff=_by_token(read.label_logits, query.text),
        place=pca.places(x, sample.residuals, query.prompts.labels, query.prompts.classes),
        norm=np.sqrt(metrics.squared_norm(x)),
        next_probability=read.next_probability,
        top=top.reshape(read.top_tokens.shape),
        top_probability=read.top_probabilities,
        words=name(tokenizer, used.tolist()),
    )


def _by_token(
    logits: Float32[np.ndarray, "tokens layers columns"], text: Prompts
) -> Float[np.ndarray, "tokens layers directions"]:
    """Return the logit difference at every token and layer; NaN in a study that asks for no answers."""
    if not text.asks:
        return np.full((*logits.shape[:2], len(metrics.contrasts(text.classes))), np.nan)
    return metrics.logit_diff(logits.reshape(-1, text.classes)).reshape(*logits.shape[:2], -1)


@dataclass(frozen=True)
class PartsQuery:
    """The checkpoint, the whole text (first of `texts`), and the text without each of its parts (the others)."""

    checkpoint: PinnedCheckpoint
    texts: Prompts


@dataclass(frozen=True, eq=False)
class Parts:
    """Effect of each part (nats): logit difference of the whole text minus that of the text without the part.

    Positive favours class 1 (more classes: for the direction's class). Through the checkpoint's own norm and head.
    """

    effect: Float[np.ndarray, "parts layers directions"]

    def rows(self, query: PartsQuery, parts: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield one row per part and layer, and per class if there are more than two."""
        for i, part in enumerate(parts):
            head = {"checkpoint": query.checkpoint.label, "part": i, "text": part}
            for (layer, c), value in np.ndenumerate(self.effect[i]):
                classes = of_class(c, self.effect.shape[2])
                yield {**head, "layer": layer, **classes, "effect": cell(value)}


@memoized(version=1, private=True)
def parts(query: PartsQuery, lab: Lab) -> Parts:
    """Read all variants of the text in batches. Li, Monroe and Jurafsky 2016, representation erasure."""
    checkpoint = query.checkpoint
    read = lab.models.readout(checkpoint, query.texts, lab.part(0, 2).progress)
    if not checkpoint.facts.replies:
        shape = (len(read.residuals) - 1, read.residuals.shape[1], len(metrics.contrasts(query.texts.classes)))
        return Parts(effect=np.full(shape, np.nan))
    logits = lab.part(1, 2).answers(read.reading, query.texts, checkpoint, checkpoint)
    logit_diff = metrics.logit_diff(logits.reshape(-1, logits.shape[-1])).reshape(*logits.shape[:2], -1)
    return Parts(effect=logit_diff[0] - logit_diff[1:])
