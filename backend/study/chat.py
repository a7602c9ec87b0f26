"""Render the messages of a chat with a tokenizer's own chat template, as transformers' `apply_chat_template` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.errors import PromptError
from backend.study import template
from backend.study.config import Message, PromptSpec


@dataclass(frozen=True)
class ChatTemplate:
    """A tokenizer's chat template in Jinja, and the special tokens that it may print: ("bos_token", "<s>"), ..."""

    source: str
    tokens: tuple[tuple[str, str], ...] = ()

    def render(self, messages: Sequence[Message], place: str) -> str:
        """Return the chat with the generation prompt. `place` names the tokenizer in the PromptError."""
        from backend.study.jinja import TemplateError, compiled  # which few studies need

        try:
            return compiled(self.source).render(
                messages=[message.model_dump() for message in messages],
                add_generation_prompt=True,
                tools=None,
                documents=None,
                **dict(self.tokens),
            )
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            reason = " ".join(str(error).split())
            raise PromptError(
                f"The chat template of {place} cannot render prompt.messages ({reason}); change the roles or their "
                f"order."
            ) from None


@dataclass(frozen=True)
class Chat:
    """The messages of a study under one chat template: a prompt template, and what it makes of texts."""

    template: ChatTemplate
    messages: tuple[Message, ...]
    fields: tuple[str, ...]
    place: str

    @property
    def prompt(self) -> str:
        """Return the rendered chat with the placeholders in it. PromptError if one is missing or repeated."""
        rendered = self.template.render(self.messages, self.place)
        if template.problem(rendered, self.fields):
            places = " and ".join(f"{{{name}}}" for name in self.fields)
            raise PromptError(
                f"The chat template of {self.place} must print {places} once; put the text into a message that it "
                f"prints, such as that of the user."
            )
        return rendered

    def texts(self, spec: PromptSpec, parts: Sequence[str]) -> tuple[str, ...]:
        """Return the texts, in template order, as the chat template prints them; many strip white space.

        `spec` has the rendered chat as its template. Raises PromptError for a text that changes what is around it.
        """
        names = [self.fields[i] for i in template.order(spec.template, self.fields)]
        if len(parts) != len(names):  # the texts of a pair as one, already printed
            return tuple(parts)
        return tuple(self._printed(spec, name, part) for name, part in zip(names, parts, strict=True))

    def _printed(self, spec: PromptSpec, name: str, text: str) -> str:
        before, after = spec.template.split(f"{{{name}}}")
        filled = [
            message.model_copy(update={"content": message.content.replace(f"{{{name}}}", text)})
            for message in self.messages
        ]
        rendered = self.template.render(filled, self.place)
        if len(rendered) < len(before + after) or not (rendered.startswith(before) and rendered.endswith(after)):
            raise PromptError(
                f"The chat template of {self.place} prints a prompt around one of the texts that differs from the "
                f"others'; remove control tokens from the text that begins “{' '.join(text.split())[:60]}”."
            )
        return rendered[len(before) : len(rendered) - len(after)]


def spec_of(chat: Chat, spec: PromptSpec) -> PromptSpec:
    """Return the spec with the rendered chat as its template. PromptError if the messages cannot be rendered."""
    return spec.model_copy(update={"template": chat.prompt, "messages": ()})
