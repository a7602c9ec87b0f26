"""Conditions between keys of study.toml."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from backend.study import template

if TYPE_CHECKING:
    from backend.study.config import PromptSpec, Study


_HUB_ONLY = {"revision": "point path at that version's folder", "subfolder": "add it to path", "config": "remove it"}
"""Keys that name a part of a hub repository, and what to do with them beside a local path."""


def problem(study: Study) -> str | None:
    """Return the first contradiction between keys, as a sentence that names them; None if there is none."""
    return _source(study) or _base(study) or _training(study) or _prompt(study) or _classes(study)


def _source(study: Study) -> str | None:
    sources: dict[str, Any] = {"base": study.base, "dataset": study.dataset}
    sources |= {f"checkpoints[{i}]": ref for i, ref in enumerate(study.checkpoints, 1)}
    for key, source in sources.items():
        if (source.repo is None) == (source.path is None):
            return f"[{key}] needs either repo (on the hub) or path (local); give exactly one."
    for key, source in (sources | {"training": study.training}).items():
        for name, remedy in _HUB_ONLY.items() if source and source.path else ():
            if getattr(source, name, None) is not None:
                return f"{key}.{name} belongs to a hub repository, but {key} has a local path; {remedy}."
    return None


def _base(study: Study) -> str | None:
    if study.base.label != "base":
        return 'base.label is always "base"; remove it.'
    if study.base.steps is not None:
        return "base.steps is not allowed; the base is one model."
    if study.base.seed_of is not None:
        return "base.seed_of is not allowed; remove it."
    return None


def _training(study: Study) -> str | None:
    training = study.training
    if training and training.repo and training.path:
        return "[training] has both repo and path; remove one."
    if training and any(left >= right for left, right in pairwise(training.save_steps)):
        return "training.save_steps must be rising steps, such as [100, 400]."
    return None


def _prompt(study: Study) -> str | None:
    prompt = study.prompt
    if prompt.messages and prompt.template:
        return "[prompt] has both template and messages; remove one."
    if not prompt.messages and not prompt.template:
        return "prompt.template is missing; add it, or [[prompt.messages]] for a chat."
    if prompt.messages:
        return _chat(prompt) or _position(study)
    return template.problem(prompt.template, prompt.fields) or _position(study)


def _chat(prompt: PromptSpec) -> str | None:
    """Return the error of messages without each field in exactly one of them."""
    text = "\n".join(message.content for message in prompt.messages)
    wrong = template.problem(text, prompt.fields)
    return wrong and wrong.replace("prompt.template has", "prompt.messages has")


def _position(study: Study) -> str | None:
    prompt = study.prompt
    if prompt.position == "generated" and study.family == "encoder":
        return 'prompt.position is "generated", but an encoder writes no tokens; choose "last" or "text_mean".'
    if prompt.position == "last" or not prompt.label_words:
        return None
    return (
        f'prompt.position is "{prompt.position}", but answers are read at the last token; remove prompt.label_words, '
        f"or prompt.position."
    )


def _classes(study: Study) -> str | None:
    words, labels, count = study.prompt.label_words, study.dataset.labels, study.classes
    if study.dataset.ordered and (words or labels is not None):
        named = "prompt.label_words" if words else "dataset.labels"
        return f"dataset.ordered is true, and {named} names classes; remove one of them."
    if len(set(words)) < len(words):
        return "prompt.label_words repeats a word; give every class a different word."
    if labels is not None and len(set(labels)) != len(labels):
        return f"dataset.labels must list {len(labels)} different values, in class order."
    if labels is not None and len(labels) != count:
        return f"dataset.labels must list {count} different values, one per label word, in class order."
    if count and study.dataset.sample % count:
        return (
            f"dataset.sample is {study.dataset.sample}, which is not divisible by {count} classes; use a multiple of "
            f"{count}."
        )
    return None
