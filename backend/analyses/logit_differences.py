"""Which next tokens became likelier or rarer? Over all positions, in context, and grouped into topics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy
from jaxtyping import Float, Int
from tokenizers import Tokenizer

from backend.caching.memoize import memoized
from backend.derived.model_differences import NAMES, DifferencesQuery, OfDifferences, compared, differences_of
from backend.derived.texts import texts
from backend.errors import UndefinedError
from backend.lab.cost import Cost
from backend.lab.differences import Predictions
from backend.lab.lab import Lab
from backend.stats import topics as topic_stats
from backend.stats.estimate import Estimate
from backend.stats.resampling import LEVEL, TAILS
from backend.stats.rows import cell, cells, interval
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.vocabulary import display

KEY = (*NAMES, "token_id")
Way = Literal["likelier", "rarer"]
WAYS: tuple[Way, ...] = ("likelier", "rarer")
TOP, IN_TOPIC, PASSAGES, BEFORE = 20, 12, 4, 14
"""Tokens listed each way, tokens of a topic, passages of a topic, and tokens before each passage."""
PerToken = Float[np.ndarray, " listed"]


@dataclass(frozen=True)
class Query(OfDifferences):
    """The checkpoint and its reference on some texts; `topics` each way, and `halvings` of the texts for the floor."""

    topics: int = 6
    top: int = TOP

    @property
    def cost(self) -> Cost:
        """The differences, and work on arrays."""
        return self.cost_with(0.4)


@dataclass(frozen=True, eq=False)
class Topic:
    """Tokens that became likelier (or rarer) at the same positions, most important first, with the passages.

    `share` is of all such changes. `stability` (0..1) says how well halves of the texts find it again. `before` are the
    passages up to a position, `following` the token that follows in the text, `instead` the most changed tokens there.
    """

    way: str
    share: float
    stability: float
    chance: float
    token: tuple[str, ...]
    before: tuple[str, ...]
    following: tuple[str, ...]
    instead: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Result:
    """Changes of next-token probabilities, averaged over all positions.

    `change` of the listed tokens (probability after minus before): the likelier ones, largest first, then the rarer
    ones, largest last. Its `chance` is the floor: the choice of texts moves some token of the vocabulary as many
    standard errors in 5 % of halvings. `kl` is KL(reference, checkpoint), nats per position.
    """

    kl: Estimate[float]
    token_id: Int[np.ndarray, " listed"]
    token: tuple[str, ...]
    change: Estimate[PerToken]
    before: PerToken
    after: PerToken
    topics: tuple[Topic, ...]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per listed token."""
        for i, name in enumerate(self.token):
            yield {
                **query.names,
                "token_id": int(self.token_id[i]),
                "token": name,
                **interval(self, "change", i),
                "floor": None if self.change.chance is None else cell(self.change.chance[i]),
                "before": cell(self.before[i]),
                "after": cell(self.after[i]),
                **cells("kl", self.kl),
            }

    def topic_rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per topic."""
        for topic in self.topics:
            yield {
                **query.names,
                "way": topic.way,
                "share": cell(topic.share),
                "stability": cell(topic.stability),
                "chance": cell(topic.chance),
                "tokens": " ".join(topic.token),
                "passages": " | ".join(topic.before),
            }


def changes(found: Predictions, top: int, halvings: int, seed: int, named: np.ndarray) -> dict[str, Any]:
    """Return the tokens that changed most each way, with intervals over groups of texts and the floor.

    `named` says which ids are tokens.
    """
    count, groups = found.predicted.astype(np.float64)[:, None], len(found.predicted)
    sums = found.change.astype(np.float64)
    mean = sums.sum(axis=0) / count.sum()
    without = (sums.sum(axis=0) - sums) / np.maximum(count.sum() - count, 1)
    error = np.sqrt((groups - 1) / groups * np.square(without - without.mean(axis=0)).sum(axis=0))
    half = scipy.special.stdtrit(max(1, groups - 1), TAILS[1]) * error
    order = np.argsort(-mean, kind="stable")
    order = order[named[order]]
    ids = np.concatenate([order[mean[order] > 0][:top], order[mean[order] < 0][-top:]]).astype(np.int64)
    level = _floor(sums, count, error, halvings, seed)
    change = Estimate(mean[ids], (mean - half)[ids], (mean + half)[ids], level * error[ids])
    before, after = (each.astype(np.float64)[ids] for each in (found.before, found.after))
    return {"token_id": ids, "change": change, "before": before, "after": after}


def _floor(sums: np.ndarray, count: np.ndarray, error: np.ndarray, halvings: int, seed: int) -> float:
    """Return the standard errors by which two halves of the texts, halved, move some token of the vocabulary."""
    rng, groups, most = np.random.default_rng(seed), len(sums), []
    scale = np.where(error > 0, error, np.inf)
    for _ in range(halvings if groups > 1 else 0):
        first = np.zeros(groups, dtype=bool)
        first[rng.permutation(groups)[: groups // 2]] = True
        halves = [sums[half].sum(axis=0) / max(1.0, count[half].sum()) for half in (first, ~first)]
        most.append(np.abs((halves[0] - halves[1]) / 2 / scale).max())
    return float(np.quantile(most, LEVEL)) if most else float("nan")


def mean_kl(found: Predictions) -> Estimate[float]:
    """Return the mean KL over all positions, with a delete-one-text jackknife interval."""
    texts_in = np.unique(found.text, return_inverse=True)[1]
    sums, count = np.bincount(texts_in, found.kl.astype(np.float64)), np.bincount(texts_in)
    value, n = sums.sum() / count.sum(), len(sums)
    if n < 2:
        return Estimate(float(value), float("nan"), float("nan"))
    without = (sums.sum() - sums) / (count.sum() - count)
    error = np.sqrt((n - 1) / n * np.square(without - without.mean()).sum())
    half = float(scipy.special.stdtrit(n - 1, TAILS[1]) * error)
    return Estimate(float(value), max(0.0, float(value) - half), float(value) + half)


def grouped(
    found: Predictions, way: Way, count: int, seed: int, tokenizer: Tokenizer, ids: Sequence[tuple[int, ...]]
) -> Iterator[Topic]:
    """Yield the topics of the tokens that became likelier or rarer, with their passages in the texts `ids`."""
    token, value = (found.rising, found.rise) if way == "likelier" else (found.falling, found.fall)
    token = token.astype(np.int64)
    topics = topic_stats.factorize(token, value.astype(np.float64), len(found.before), count, seed)
    stable, chance = topic_stats.stability(topics, token, value.astype(np.float64), found.text, seed)
    for k, share in enumerate(topics.share):
        best = np.argsort(-topics.tokens[k], kind="stable")[:IN_TOPIC]
        places = topic_stats.passages(topics.positions[:, k], found.text, PASSAGES)
        yield Topic(
            way,
            float(share),
            float(stable[k]),
            chance,
            display.name(tokenizer, [int(i) for i in best if topics.tokens[k, i] > 0]),
            tuple(_before(tokenizer, ids[found.text[p]], int(found.position[p])) for p in places),
            display.pieces(tokenizer, [int(found.following[p]) for p in places]),
            tuple(" ".join(display.name(tokenizer, token[p, :3].tolist())) for p in places),
        )


def _before(tokenizer: Tokenizer, ids: tuple[int, ...], position: int) -> str:
    start = max(0, position + 1 - BEFORE)
    return ("… " if start else "") + "".join(display.pieces(tokenizer, ids[start : position + 1])).strip()


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Compare the predictions of both models, and group them. UndefinedError if either predicts no tokens."""
    found = differences_of(query.differences, lab.part(0, 10, wide=6)).predictions
    if found is None:
        raise UndefinedError(
            f"{query.checkpoint.label} or {query.reference.label} predicts no tokens of these texts, so no token "
            f"became likelier or rarer; use causal language models, and texts of at least two tokens."
        )
    tokenizer = lab.models.tokenizer(query.texts.tokenizer.ref, query.texts.tokenizer.base)
    ids = query.texts.read(lab).token_ids
    topics: list[Topic] = []
    for i, way in enumerate(WAYS):
        lab.progress(0.6 + 0.15 * i, f"Grouping the tokens that became {way}.")
        topics += grouped(found, way, query.topics, query.seed, tokenizer, ids)
    lab.progress(0.9, "Comparing halves of the texts.")
    named = np.array([tokenizer.id_to_token(i) is not None for i in range(len(found.before))])
    listed = changes(found, query.top, query.halvings, query.seed, named)
    names = display.name(tokenizer, listed["token_id"].tolist())
    return Result(kl=mean_kl(found), token=names, topics=tuple(topics), **listed)


@dataclass(frozen=True)
class TextQuery:
    """One of the texts of `differences`, by its place among them."""

    differences: DifferencesQuery
    text: int

    @property
    def cost(self) -> Cost:
        """The differences of all texts."""
        return Cost().with_fitting(0.02, differences_of.request(self.differences))


@dataclass(frozen=True, eq=False)
class Text:
    """A text token by token: KL(reference, checkpoint) of the prediction at each token except the last (nats).

    `likelier` and `rarer` are the most changed next tokens there.
    """

    pieces: tuple[str, ...]
    kl: Float[np.ndarray, " tokens"]
    likelier: tuple[str, ...]
    rarer: tuple[str, ...]

    def rows(self, query: TextQuery) -> Iterator[dict[str, Any]]:
        """Yield one row per predicting position."""
        for i, kl in enumerate(self.kl):
            yield {
                "checkpoint": query.differences.checkpoint.label,
                "text_set": query.differences.texts.name,
                "text": query.text,
                "position": i,
                "token": self.pieces[i],
                "kl": cell(kl),
                "likelier": self.likelier[i],
                "rarer": self.rarer[i],
            }


@memoized(version=1)
def text(query: TextQuery, lab: Lab) -> Text:
    """Read the changes of one text. UndefinedError if either model predicts no tokens, or there is no such text."""
    found, prompts = differences_of(query.differences, lab).predictions, query.differences.texts.read(lab)
    if found is None or not 0 <= query.text < len(prompts.token_ids):
        raise UndefinedError("There are no predictions of this text; choose another text, or causal language models.")
    tokenizer = lab.models.tokenizer(query.differences.texts.tokenizer.ref, query.differences.texts.tokenizer.base)
    at = found.text == query.text
    likelier, rarer = (
        tuple(" ".join(display.name(tokenizer, row[:3].tolist())) for row in each[at])
        for each in (found.rising, found.falling)
    )
    pieces = display.pieces(tokenizer, prompts.token_ids[query.text])
    return Text(pieces, found.kl[at].astype(np.float64), likelier, rarer)


def query(study: PinnedStudy, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, text_set: str) -> Query:
    """Return the query on one of `text_sets`. UndefinedError if the token ids of both differ."""
    return Query(checkpoint, reference, texts(study, checkpoint, reference, text_set))


def lacking(study: PinnedStudy, reference: str) -> str | None:
    """Return which model predicts no next tokens; None if both do."""
    return study.lacks_next_tokens(reference)


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return queries for every other checkpoint that predicts tokens, and for twins of another seed, on all texts.

    KeyError if no checkpoint has the reference's label.
    """
    pairs = compared(study, reference)
    return [query(study, *one) for one in pairs if one[0].facts.predicts and one[1].facts.predicts]
