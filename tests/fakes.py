"""Fakes for the ports: a study of sixty reviews, three epochs and thirteen layers, without torch or network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from backend.caching.cache import Cache
from backend.caching.progress import Progress, silent
from backend.lab.lab import Lab
from backend.study.chat import ChatTemplate
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.classes import ClassNames
from backend.study.config import CheckpointRef, Study, parse_study
from backend.study.dataset import TrainingTexts, make_sample
from backend.study.facts import Facts
from backend.study.kinds import ALL_TEXTS, Kind
from backend.study.pinned import Missing, PinnedStudy
from backend.study.prompts import Readers, make_prompts
from backend.study.reader import plain_reader
from backend.study.token_ids import Prompts
from tests.fake_autoencoders import FakeAutoencoders
from tests.fake_differences import FakeComparisons
from tests.fake_interventions import FakeInterventions
from tests.fake_numbers import VOCABULARY, epoch_of
from tests.fake_readouts import fake_residuals
from tests.fake_texts import MAX_TOKENS, TEMPLATE, WORDS, fake_sample, fake_tokenizer


class FakeModels(FakeInterventions, FakeComparisons):
    """`lab.Models` without models: deterministic residuals and logits; `ran` lists the fingerprints of every run.

    The epoch is the number at the end of a checkpoint's path (the base is epoch 0).
    """

    device = "cpu"

    def __init__(
        self,
        layers: int = 12,
        width: int = 32,
        residuals: Callable[[int, Prompts, int, int], np.ndarray] = fake_residuals,
    ) -> None:
        self.layers, self.width, self.residuals = layers, width, residuals
        self.ran: list[str] = []

    def loaded(self) -> tuple[tuple[str, int], ...]:
        """Return one model, with a name that is markup."""
        return (("models/**base**", 12_000_000),)

    def state(self, ref: CheckpointRef) -> None:
        """Return that nothing is known of the files of a fake."""

    def fingerprint(self, ref: CheckpointRef, base: CheckpointRef) -> str:
        """Return the digest of the path, the only content of a fake."""
        return f"{hashlib.sha256(Path(ref.place).name.encode()).hexdigest()[:12]}-{epoch_of(ref)}"

    def facts(self, ref: CheckpointRef, base: CheckpointRef) -> Facts:
        """Return the sizes that the fake was created with."""
        return Facts("GPT2LMHeadModel", self.layers, self.width, VOCABULARY, 12 * self.layers * self.width**2)

    def tokenizer(self, ref: CheckpointRef, base: CheckpointRef) -> Tokenizer:
        """Return the same tokenizer for every checkpoint."""
        return fake_tokenizer()

    def chat_template(self, ref: CheckpointRef, base: CheckpointRef) -> ChatTemplate | None:
        """Return a template of fixed words around each message."""
        return ChatTemplate("{% for m in messages %}{{ m.content }} {% endfor %}Sentiment:")

    def sets_token_types(self, ref: CheckpointRef, base: CheckpointRef) -> bool:
        """Fakes are causal models, which know no token types."""
        return False

    def check(self, ref: CheckpointRef, base: CheckpointRef) -> None:
        """Accept every checkpoint."""

    def weights_digest(self, ref: CheckpointRef, base: CheckpointRef) -> str:
        """Return the fingerprint: every fake has its own weights."""
        return self.fingerprint(ref, base)

    def warnings(self, ref: CheckpointRef, base: CheckpointRef) -> tuple[str, ...]:
        """Return no warnings."""
        return ()

    def check_prompts(self, checkpoint: PinnedCheckpoint, prompts: Prompts) -> None:
        """Accept every prompt."""

    def check_values(self, checkpoint: PinnedCheckpoint, prompts: Prompts, run: bool) -> None:
        """Accept all values."""

    def starting(self) -> float:
        """Return 0: nothing is imported."""
        return 0.0

    def opening(self, checkpoint: PinnedCheckpoint) -> float:
        """Return half a second."""
        return 0.5

    def reading(self, checkpoint: PinnedCheckpoint, tokens: int) -> float:
        """Return a millisecond per token."""
        return tokens / 1000


def fake_definition(
    folder: Path, epochs: int = 3, classes: int = 2, reviews: int = 60, kind: Kind = "answers"
) -> Study:
    """Return the parsed study.toml of a fake study."""
    raw: dict[str, Any] = {
        "title": "Film reviews, a fake",
        "family": "causal",
        "base": {"path": "checkpoints/base"},
        "checkpoints": [{"label": f"epoch {e}", "path": f"checkpoints/epoch-{e}"} for e in range(1, epochs + 1)],
        "dataset": {"path": "reviews.csv", "sample": reviews},
        "prompt": {
            "template": TEMPLATE,
            "label_words": list(WORDS[:classes]),
            "max_tokens": MAX_TOKENS,
            "separator": " ",
        },
    }
    if kind != "answers":
        del raw["prompt"]["label_words"]
        raw["dataset"] |= {"contrast": {"label": "label"}, "ordered": {"ordered": True}}.get(kind, {})
    return parse_study(raw, folder)


def fake_study(
    folder: Path = Path("/fake/studies/film"),
    epochs: int = 3,
    classes: int = 2,
    reviews: int = 60,
    models: FakeModels | None = None,
    missing: tuple[Missing, ...] = (),
    training: TrainingTexts | None = None,
    kind: Kind = "answers",
) -> PinnedStudy:
    """Return a pinned study: base and `epochs` checkpoints over `reviews` balanced reviews.

    Without answers, its classes are called as the label words would be.
    """
    models = models or FakeModels()
    stars = fake_sample(reviews, 5).label if kind == "ordered" else np.empty(0)
    classes = 1 if kind in ("texts", "ordered") else classes
    study = fake_definition(folder, epochs, classes, reviews, kind)
    sample = fake_sample(reviews, classes)
    sample = make_sample(sample.index, sample.label, sample.text, (), [float(one) for one in stars])
    reader = plain_reader(models.tokenizer(study.base, study.base), study.prompt, study.family, classes=classes)
    prompts = make_prompts(reader, sample.text, sample.label)
    checkpoints = tuple(
        PinnedCheckpoint(
            models.fingerprint(ref, study.base),
            study.dtype or "float32",
            ref,
            study.base,
            replace(models.facts(ref, study.base), asked=kind == "answers"),
        )
        for ref in study.refs
    )
    readers = Readers(dict.fromkeys((one.fingerprint for one in checkpoints), reader))
    words = (ALL_TEXTS,) if classes == 1 else WORDS[:classes]
    named = tuple(ClassNames(str(c), None, word) for c, word in enumerate(words))
    separator = " " if kind == "answers" else None
    return PinnedStudy(study, sample, prompts, checkpoints, missing, training, readers, named, separator)


def fake_lab(folder: Path, models: FakeModels | None = None, progress: Progress = silent) -> Lab:
    """Return a lab with fake models and a real cache in `folder`."""
    models = models or FakeModels()
    return Lab(Cache(folder / "cache", None), models, FakeAutoencoders(models.layers, models.width), progress)


def run_seconds(lab: Lab, checkpoint: PinnedCheckpoint, tokens: int) -> float:
    """Return the expected seconds to open the checkpoint and run the tokens."""
    return lab.models.opening(checkpoint) + lab.models.reading(checkpoint, tokens)
