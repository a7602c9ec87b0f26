"""Which tokens did training move? The shift of every row of the input embedding, and of an untied unembedding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from backend.caching.memoize import memoized
from backend.derived.embedding_shift import MEASURES, Moved, ShiftQuery, shifts
from backend.derived.token_counts import CountQuery, count_query, counts, strata
from backend.lab.cost import Cost, cost_of_fields
from backend.lab.lab import Lab
from backend.stats.rows import cell
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.vocabulary import display, lexicon

KEY = ("checkpoint", "token_id")
FEWEST = 20
"""Tokens of one frequency below which none of them is called typical."""


@dataclass(frozen=True)
class Query:
    """The two checkpoints, how tokens are counted, and a study's own word lists."""

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    counted: CountQuery
    own: lexicon.Words = ()

    @property
    def cost(self) -> Cost:
        """Opening the models, and their rows."""
        return cost_of_fields(self).with_fitting(1e-5 * self.checkpoint.facts.vocabulary)


@dataclass(frozen=True, eq=False)
class Result:
    """The shift of every shared token id; ids of an extended vocabulary are left out.

    `group[i]` is the index in `groups` of the token's word list (the last of several), -1 without one.
    `output` is that of the unembedding, None where checkpoint and reference both have it tied to the input embedding.
    `token` is the text of the id, `count` how often it occurs in the texts that `count_note` names (`counted_in`:
    training or sample).
    """

    token: tuple[str, ...]
    groups: tuple[str, ...]
    group: Int64[np.ndarray, " tokens"]
    count: Int64[np.ndarray, " tokens"]
    counted_in: str
    count_note: str
    input: Moved
    output: Moved | None

    @property
    def tied(self) -> bool:
        """Whether the unembedding has no shift of its own."""
        return self.output is None

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per token; the columns `output_*` are empty if the matrices are tied."""
        for i in range(len(self.token)):
            yield {"checkpoint": query.checkpoint.label, **self.row(i)}

    def row(self, token: int) -> dict[str, Any]:
        """Return the row of one token id."""
        group = int(self.group[token])
        cells = {"token_id": token, "token": self.token[token]}
        cells |= {name: cell(getattr(self.input, name)[token]) for name in MEASURES}
        cells |= {"group": self.groups[group] if group >= 0 else None}
        cells |= {"count": int(self.count[token]), "counted_in": self.counted_in}
        output = None if self.output is None else vars(self.output)
        return cells | {f"output_{name}": cell(output[name][token]) if output else None for name in MEASURES}

    def measure(self, name: str, matrix: str) -> Float[np.ndarray, " tokens"]:
        """Return one of MEASURES for the `input` or `output` matrix, which are the same if tied."""
        return getattr(self.input if matrix == "input" or self.output is None else self.output, name)

    def against_frequency(self, name: str, matrix: str) -> Float[np.ndarray, " tokens"]:
        """Return a measure over its median among the tokens of the same frequency stratum; 1 is typical.

        NaN in strata of fewer than FEWEST tokens, or whose median is 0.
        """
        values, of = self.measure(name, matrix), strata(self.count)
        typical = np.full(len(values), np.nan)
        for stratum in np.unique(of):
            inside = of == stratum
            if inside.sum() >= FEWEST:
                typical[inside] = np.nanmedian(values[inside]) or np.nan
        return values / typical


@memoized(version=2)
def recipe(query: Query, lab: Lab) -> Result:
    """Compare the rows, and count the tokens."""
    counted = counts(query.counted, lab.part(0, 2))
    moved = shifts(ShiftQuery(query.checkpoint, query.reference), lab.part(1, 2))
    tokenizers = [lab.models.tokenizer(model.ref, model.base) for model in (query.reference, query.checkpoint)]
    tokenizer = max(tokenizers, key=lambda tokenizer: tokenizer.get_vocab_size())
    size = len(moved.input.l2)
    members = lexicon.token_groups(tokenizer, query.own, size)
    group = np.full(size, -1)
    for position, ids in enumerate(members.values()):
        group[list(ids)] = position
    lab.progress(1.0, f"Compared the tokens of {query.checkpoint.label}.")
    return Result(
        token=display.names(tokenizer, size),
        groups=tuple(members),
        group=group,
        count=counted.of_rows(size),
        counted_in=counted.source,
        count_note=counted.note,
        input=moved.input,
        output=moved.output,
    )


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query for every checkpoint except the reference; KeyError if no checkpoint has its label."""
    against = study.checkpoint(reference)
    own = lexicon.own_words(study.study.lexicon)
    return [
        Query(checkpoint, against, count_query(study), own)
        for checkpoint in study.checkpoints
        if checkpoint.label != reference
    ]
