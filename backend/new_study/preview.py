"""The prompts of a new study, as its models will see them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from backend.errors import PromptError
from backend.lab.lab import Lab
from backend.new_study.fields import reading_of
from backend.study.chat import Chat, spec_of
from backend.study.config import Study
from backend.study.dataset import Sample
from backend.study.prompts import make_prompts, shown
from backend.study.reader import Reader, plain_reader
from backend.study.token_ids import Prompts


@dataclass(frozen=True, eq=False)
class Preview:
    """Prompts as the model will see them: special tokens visible, `cut` where the text was too long.

    `lengths` counts tokens; `words` are the label words as the tokens that stand for them.
    """

    prompts: tuple[str, ...]
    cut: tuple[bool, ...]
    lengths: tuple[int, ...]
    words: tuple[str, ...]


def preview(study: Study, sample: Sample, lab: Lab) -> Preview:
    """The first two texts of the sample and its longest. Raises CheckpointError or PromptError."""
    reader = reader_of(study, lab)
    tokenizer = reader.tokenizer
    longest = max(range(len(sample.text)), key=lambda i: len(sample.text[i]))
    chosen = [*[i for i in range(len(sample.text)) if i != longest][:2], longest]
    seen: Prompts = make_prompts(reader, [sample.inputs[i] for i in chosen], sample.label[chosen])
    return Preview(
        prompts=tuple(tokenizer.decode(list(ids), skip_special_tokens=False) for ids in seen.token_ids),
        cut=tuple(seen.truncated.tolist()),
        lengths=tuple(seen.lengths.tolist()),
        words=tuple(shown(tokenizer, tokens) for tokens in seen.continuations) if reader.endings else (),
    )


def reader_of(study: Study, lab: Lab) -> Reader:
    """Return the reader of the base's tokenizer. Raises CheckpointError or PromptError."""
    spec = study.prompt
    chat = _chat(study, lab) if spec.messages else None
    reading = reading_of(study.family, study.base, study.checkpoints, lab)
    tokenizer = lab.models.tokenizer(study.base, study.base)
    return replace(
        plain_reader(tokenizer, spec if chat is None else spec_of(chat, spec), reading, classes=1), chat=chat
    )


def _chat(study: Study, lab: Lab) -> Chat:
    """Return the chat of the first tokenizer with a chat template. Raises PromptError if none has one."""
    for ref in study.refs:
        found = lab.models.chat_template(ref, study.base)
        if found is not None:
            return Chat(found, study.prompt.messages, study.prompt.fields, ref.place)
    raise PromptError(f"The tokenizer of {study.base.place} has no chat template; use a template around the text.")
