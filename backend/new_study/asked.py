"""The kind and the prompt of a new study: the questions in words, and the tables of study.toml for the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.study.kinds import Kind

KINDS: dict[Kind, str] = {
    "answers": "Labels, and the model answers with a word",
    "contrast": "Labels only: compare the classes",
    "ordered": "Labels in an order, such as 1 to 5 stars",
    "texts": "Texts only, without labels",
}
FORMS = {"template": "A template around the text", "chat": "A chat, with the model's own chat template"}


@dataclass(frozen=True)
class Asked:
    """The kind of a study and the form of its prompt: `template`, or the user's message of a `chat` after `system`."""

    kind: Kind
    template: str
    chat: bool
    system: str

    @property
    def form(self) -> dict[str, Any]:
        """Return the keys of [prompt] for the template or the messages."""
        if not self.chat:
            return {"template": self.template}
        messages = [{"role": "user", "content": self.template}]
        if self.system.strip():
            messages.insert(0, {"role": "system", "content": self.system})
        return {"messages": messages}

    def prompt(self, words: Sequence[str], more: dict[str, Any]) -> dict[str, Any]:
        """Return [prompt] with the label words, if the study asks for answers, and `more` keys without None."""
        answers = {"label_words": list(words)} if self.kind == "answers" else {}
        return self.form | answers | {key: value for key, value in more.items() if value is not None}
