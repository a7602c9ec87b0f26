"""How did training change the predictions? Entropy, perplexity, KL and the last residuals, on two sets of texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from tokenizers import Tokenizer

from backend.caching.memoize import memoized
from backend.lab.cost import Cost, cost_of_fields
from backend.lab.lab import Lab
from backend.lab.outputs import OutputSpace
from backend.stats import intervals, metrics
from backend.stats.estimate import Estimate
from backend.stats.rows import cell, cells, interval, point
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.prompts import bare_prompts
from backend.study.token_ids import Prompts, other_ids
from backend.vocabulary import display, lexicon, neutral

MEASURES = (
    *("entropy", "non_sentiment_logprob", "non_sentiment_mass", "perplexity", "mean_text_perplexity", "kl_from_base"),
    *("hidden_cosine", "hidden_cosine_after_norm", "hidden_norm_ratio", "hidden_norm_ratio_after_norm"),
)

KEY = ("checkpoint", "text_set")
TEXT_SETS = ("neutral", "sample")
LABEL_WORDS, NON_SENTIMENT = "label words", "non-sentiment words"
TOP = 30
PerMeasure = Float[np.ndarray, " measures"]
PerGroup = Float[np.ndarray, " groups"]
PerToken = Float[np.ndarray, " listed"]
Counts = Shaped[np.ndarray, "draws texts"]


@dataclass(frozen=True)
class Query:
    """The checkpoint and reference to compare, on one of TEXT_SETS.

    `prompts` are the study's; None means the neutral sentences, truncated at `max_tokens` by the base's `tokenizer`.
    `label_tokens` and `own` lists are groups of tokens; `neutral_digest` identifies the neutral sentences and words.
    """

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    tokenizer: PinnedCheckpoint
    text_set: str
    prompts: Prompts | None
    label_tokens: tuple[int, ...]
    max_tokens: int
    own: lexicon.Words
    neutral_digest: str
    draws: int = 1000
    seed: int = 0

    @property
    def cost(self) -> Cost:
        """Both models read every text; the neutral sentences have about one token for every four signs."""
        if self.prompts is None:
            return cost_of_fields(self, tokens=sum(map(len, neutral.sentences())) // 4)
        return cost_of_fields(self).with_passes(self.checkpoint, self.prompts, 2.0)


@dataclass(frozen=True, eq=False)
class Result:
    """A checkpoint compared with its reference on one set of texts; all intervals 95 %, from a bootstrap over texts.

    `measures` are in the order of MEASURES: entropy (nats), log-probability (nats) and mass (0..1) of
    the non-sentiment words at the last token, the two perplexities, KL (nats), cosine and norm ratio of the last
    residual before and after the final norm. NaN: no such word is one token, or no text has two tokens.

    `loss` (nats) and `predicted` are each text's sum and number of predicted tokens. `left_out` are words that are not
    one token. The `groups` of tokens, of `group_size`, do not overlap; mass before (reference) and after, and its
    change, end with all other tokens. The tokens listed rose (likeliest risers first) and then fell (furthest last):
    mean change of log-probability (nats), mean probability before and after, share of the texts in which it rose, and
    the position of its group.
    """

    measures: Estimate[PerMeasure]
    loss: Float[np.ndarray, " texts"]
    predicted: Int[np.ndarray, " texts"]
    left_out: tuple[str, ...]
    groups: tuple[str, ...]
    group_size: Int[np.ndarray, " groups"]
    mass_before: PerGroup
    mass_after: PerGroup
    mass_change: Estimate[PerGroup]
    token_id: Int[np.ndarray, " listed"]
    token: tuple[str, ...]
    group: Int[np.ndarray, " listed"]
    change: PerToken
    before: PerToken
    after: PerToken
    rose: PerToken

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row: every measure with its interval."""
        row: dict[str, Any] = {"checkpoint": query.checkpoint.label, "text_set": query.text_set}
        for m, name in enumerate(MEASURES):
            row |= cells(name, self.measures, m)
        yield row

    def group_rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per group of tokens."""
        for g, name in enumerate(self.groups):
            yield {
                "checkpoint": query.checkpoint.label,
                "text_set": query.text_set,
                "group": name,
                "tokens": int(self.group_size[g]),
                **point(self, "mass_before", g),
                **point(self, "mass_after", g),
                **interval(self, "mass_change", g),
            }

    def token_rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per listed token."""
        for i, name in enumerate(self.token):
            yield {
                "checkpoint": query.checkpoint.label,
                "text_set": query.text_set,
                "token_id": int(self.token_id[i]),
                "token": name,
                "group": self.groups[self.group[i]],
                **{field: cell(getattr(self, field)[i]) for field in ("change", "before", "after", "rose")},
            }


def perplexity(loss: Float[np.ndarray, " texts"], predicted: Int[np.ndarray, " texts"], counts: Counts) -> np.ndarray:
    """exp of the token-weighted mean loss of each resample: every token weighs the same. [draws]; NaN if there is none.

    Jelinek, Mercer, Bahl and Baker 1977, JASA 62.
    """
    return np.exp(metrics.ratio(counts @ loss.astype(np.float64), (counts @ predicted).astype(np.float64)))


def mean_over_texts(values: Float[np.ndarray, "texts *more"], counts: Counts) -> np.ndarray:
    """Return the mean over the texts of each resample, ignoring NaN: [draws, ...]."""
    defined = np.isfinite(values)
    total = np.tensordot(counts, np.where(defined, values, 0.0), axes=1)
    return metrics.ratio(total, np.tensordot(counts, defined.astype(np.float64), axes=1))


def summaries(result: OutputSpace, counts: Counts) -> Float[np.ndarray, "draws measures"]:
    """Return all MEASURES of each resample; set 0 of `result` is the non-sentiment words."""
    predicted = result.predicted.astype(np.float64)
    loss, kl = (metrics.ratio(total.astype(np.float64), predicted) for total in (result.loss, result.kl))
    means = np.column_stack(
        [
            *(result.entropy, result.set_logprob[1, :, 0], result.set_mass[1, :, 0]),
            *(np.exp(loss), kl),
            *(result.cosine, result.norm_ratio),
        ]
    ).astype(np.float64)
    if np.isnan(means[:, 1]).all():
        means[:, 2] = np.nan  # without words the mass is undefined, not 0
    averaged = mean_over_texts(means, counts)
    return np.insert(averaged, 3, perplexity(result.loss, result.predicted, counts), axis=1)


def partition(groups: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Remove the tokens of earlier groups from each group, so that the masses can be added."""
    seen: set[int] = set()
    disjoint: dict[str, tuple[int, ...]] = {}
    for name, ids in groups.items():
        disjoint[name] = tuple(sorted(set(ids) - seen))
        seen |= set(ids)
    return disjoint


def masses(output: OutputSpace, labels: metrics.Labels, draws: int, seed: int) -> dict[str, Any]:
    """Return the mass of each group (sets 1 and up) and of all other tokens: before, after, change with interval."""
    groups = output.set_mass[:, :, 1:].astype(np.float64)
    both = np.concatenate([groups, np.maximum(0.0, 1 - groups.sum(axis=2, keepdims=True))], axis=2)
    change = both[1] - both[0]
    before, after = both.mean(axis=1)
    estimate = Estimate(change.mean(axis=0), *intervals.mean_interval(change, labels, draws, seed))
    return {"mass_before": before, "mass_after": after, "mass_change": estimate}


def listed(output: OutputSpace, tokenizer: Tokenizer, groups: dict[str, tuple[int, ...]], top: int) -> dict[str, Any]:
    """Return the `top` tokens that rose most and the `top` that fell most; ids without a token are left out."""
    change = output.logprob_change.astype(np.float64)
    has_name = np.array([tokenizer.id_to_token(i) is not None for i in range(len(change))])
    order = np.argsort(-change, kind="stable")
    order = order[has_name[order]]
    rising, falling = order[change[order] > 0][:top], order[change[order] < 0][-top:]
    ids = np.concatenate([rising, falling]).astype(np.int64)
    of = {token: position for position, members in enumerate(groups.values()) for token in members}
    before, after = output.probability[:, ids].astype(np.float64)
    return {
        "token_id": ids,
        "token": display.name(tokenizer, ids.tolist()),
        "group": np.array([of.get(i, len(groups)) for i in ids.tolist()], dtype=np.int64),
        "change": change[ids],
        "before": before,
        "after": after,
        "rose": output.rose[ids].astype(np.float64),
    }


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Run both models on every text, then resample the texts."""
    tokenizer = lab.models.tokenizer(query.tokenizer.ref, query.tokenizer.base)
    prompts = query.prompts or bare_prompts(tokenizer, neutral.sentences(), query.label_tokens, query.max_tokens)
    shared = min(checkpoint.facts.vocabulary for checkpoint in (query.checkpoint, query.reference))
    words = {word: i for word, i in display.of_words(tokenizer, neutral.WORDS).items() if i < shared}
    chosen = tuple(sorted(set(words.values())))
    own = {name for name, _ in query.own}
    by_word = lexicon.token_groups(tokenizer, query.own, shared)
    first = {name: ids for name, ids in by_word.items() if name in own}
    groups = partition({LABEL_WORDS: query.label_tokens} | first | by_word | {NON_SENTIMENT: chosen})

    def report(fraction: float, sentence: str) -> None:
        lab.progress(0.9 * fraction, sentence)

    sets = (chosen, *groups.values())
    output = lab.models.output_space(query.checkpoint, query.reference, prompts, sets, report)
    lab.progress(0.9, f"Resampling {len(prompts.labels):,} texts {query.draws:,} times.")
    limits = intervals.bootstrap(lambda counts: summaries(output, counts), prompts.labels, query.draws, query.seed)
    sizes = [len(ids) for ids in groups.values()]
    result = Result(
        measures=Estimate(summaries(output, np.ones((1, len(prompts.labels))))[0], *limits),
        loss=output.loss.astype(np.float64),
        predicted=output.predicted,
        left_out=tuple(word for word in neutral.WORDS if word not in words),
        groups=(*groups, "all other tokens"),
        group_size=np.array([*sizes, shared - sum(sizes)]),
        **masses(output, prompts.labels, query.draws, query.seed),
        **listed(output, tokenizer, groups, TOP),
    )
    lab.progress(1.0, f"Compared the predictions of {query.checkpoint.label}.")
    return result


def query(study: PinnedStudy, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, text_set: str) -> Query:
    """Return the query of a checkpoint on one of TEXT_SETS. UndefinedError if its token ids differ."""
    if not study.same_ids(checkpoint, reference):
        raise other_ids(checkpoint, reference)
    return Query(
        checkpoint,
        reference,
        study.tokenizing(checkpoint),
        text_set,
        study.prompts if text_set == "sample" else None,
        study.prompts.label_tokens,
        study.study.prompt.max_tokens,
        lexicon.own_words(study.study.lexicon),
        neutral.digest(),
    )


def lacking(study: PinnedStudy, reference: str) -> str | None:
    """Return which model predicts no next tokens; None if both do."""
    return study.lacks_next_tokens(reference)


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return queries for every checkpoint that predicts tokens, on both sets of texts; none for other references.

    KeyError if no checkpoint has the reference's label.
    """
    against = study.checkpoint(reference)
    if not against.facts.predicts:
        return []
    alike = [checkpoint for checkpoint in study.predicting if study.same_ids(checkpoint, against)]
    return [query(study, checkpoint, against, text_set) for checkpoint in alike for text_set in TEXT_SETS]
