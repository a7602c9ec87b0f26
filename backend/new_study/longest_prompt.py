"""The longest prompt of a new study: the usual number of tokens, or fewer where its models have fewer positions."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from backend.errors import CheckpointError, LayershiftError
from backend.lab.lab import Lab
from backend.new_study.fields import NewStudy, draft, on_hub
from backend.new_study.inputs import USUAL_TOKENS
from backend.new_study.preview import reader_of
from backend.study.config import CheckpointRef, Study
from backend.study.reader import fill, separators, word_reader


def shorten(new: NewStudy, root: Path, lab: Lab, fetch: bool = True) -> tuple[NewStudy, str]:
    """Set an open `max_tokens` to the usual number, or to what every readable model has positions for.

    Returns the study, and why it is below the usual number, empty otherwise. Parts that cannot be read leave the usual
    number, and so does the hub without `fetch`.
    """
    if new.max_tokens is not None:
        return new, ""
    if fetch or not on_hub(new):
        with suppress(LayershiftError):
            study = draft(new, root)
            limits = [(longest, ref.place) for ref in study.refs if (longest := _longest(ref, study, lab)) is not None]
            least, place = min(limits, default=(2 * USUAL_TOKENS, ""))
            answer = _answer(study, lab) if least < 2 * USUAL_TOKENS else 0
            if least - answer < USUAL_TOKENS:
                most, words = max(least - answer, 1), ", label words included" if answer else ""
                return replace(new, max_tokens=most), f"{most}, because {place} reads at most {least} tokens{words}"
    return replace(new, max_tokens=USUAL_TOKENS), ""


def _longest(ref: CheckpointRef, study: Study, lab: Lab) -> int | None:
    with suppress(CheckpointError):
        return lab.models.facts(ref, study.base).longest
    return None


def _answer(study: Study, lab: Lab) -> int:
    """Return the most tokens of a label word that a model reads: all but its last, after either separator."""
    reader = reader_of(study, lab)
    if not reader.endings:
        return 0
    spec = reader.spec.model_copy(update={"max_tokens": 2**31})
    texts = ("",) * len(spec.fields)
    filled = fill(word_reader(reader.tokenizer, spec, separators(spec), reader.chat), texts if texts[1:] else "")
    return max(map(len, filled.words)) - 1
