"""Fakes for the ports: a study of sixty reviews, three epochs and thirteen layers, without torch or network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from backend.caching.cache import Cache
from backend.caching.progress import Progress, silent, unwatched
from backend.lab.lab import Lab
from backend.lab.outputs import (
    Ablation,
    Contributions,
    Embedding,
    Intervention,
    Matrix,
    OutputSpace,
    Patched,
    Readout,
    Sampling,
    SideEffects,
    SteeringVectors,
    Swap,
    Swapped,
    TextReadout,
    WeightChange,
)
from backend.study.chat import ChatTemplate
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.classes import ClassNames
from backend.study.config import CheckpointRef, Study, parse_study
from backend.study.dataset import Sample, TrainingTexts, make_sample
from backend.study.facts import Facts
from backend.study.kinds import ALL_TEXTS, Kind
from backend.study.pinned import Missing, PinnedStudy
from backend.study.prompts import Readers, make_prompts
from backend.study.reader import plain_reader
from backend.study.token_ids import Prompts
from tests.fake_autoencoders import FakeAutoencoders
from tests.fake_differences import FakeComparisons
from tests.fake_numbers import VOCABULARY
from tests.fake_numbers import epoch_of as _epoch
from tests.fake_numbers import generator as _generator

WORDS = ("negative", "positive", "mixed", "unclear", "spam")
TEMPLATE = "Review: {text} Sentiment:"
MAX_TOKENS = 96

SUBJECTS = (
    "The lead performance",
    "This adaptation of the novel",
    "The camera work in the harbour scenes",
    "Her second feature",
    "The script",
    "What the trailer sold as a thriller",
    "The score, all strings and silence,",
    "The last half hour",
    "A cast this size",
    "The dialogue between the two brothers",
)
VERDICTS = (
    (
        "drags from the first minute and never finds a reason to exist.",
        "is so tired that even the extras look at their watches.",
        "wastes every good idea it borrows.",
        "falls apart the moment anybody has to speak.",
        "left the row behind me snoring, and I envied them.",
        "is loud where it should be clever and long where it should be over.",
    ),
    (
        "stayed with me for days.",
        "is funny, humane and exactly as long as it needs to be.",
        "earns each of its quiet surprises.",
        "made me call my father afterwards.",
        "is the best thing I have seen in this cinema all year.",
        "finds grace in people whom other films laugh at.",
    ),
    (
        "works for an hour and then forgets what it was about.",
        "is half a great film and half an apology for it.",
        "will please some and leave the others cold.",
        "has moments of wonder between stretches of filler.",
        "is well made and hard to love.",
        "starts badly, recovers, and ends somewhere in between.",
    ),
)
ASIDES = (
    "I went in knowing nothing.",
    "We saw it on a rainy Tuesday with eleven other people.",
    "Do not read the synopsis first.",
    "My sister disagrees, loudly.",
    "The subtitles are out of step in places.",
    "It was shot in nineteen days, which is worth knowing.",
    "The director has done this before, in smaller rooms.",
    "Nobody in it behaves the way people behave, and that may be the point.",
)
RATINGS = (("2/10.", "One star out of five."), ("9/10.", "Five stars."), ("5/10.", "Three out of five stars."))


def fake_texts(labels: np.ndarray, seed: int = 0) -> list[str]:
    """Return reviews of one to a dozen sentences; every tenth states a rating, every fifteenth is long."""
    generator = np.random.default_rng(seed)

    def pick(choices: tuple[str, ...]) -> str:
        return choices[int(generator.integers(len(choices)))]

    texts = []
    for i, label in enumerate(labels):
        kind = int(label) % len(VERDICTS)
        sentences = [f"{pick(SUBJECTS)} {pick(VERDICTS[kind])}"]
        extra = 12 if i % 15 == 7 else int(generator.integers(0, 4))
        sentences += [pick(ASIDES) if k % 2 else f"{pick(SUBJECTS)} {pick(VERDICTS[kind])}" for k in range(extra)]
        generator.shuffle(sentences)
        if i % 10 == 3:
            sentences.append(pick(RATINGS[kind]))
        texts.append(f"{' '.join(sentences)} (Screening {i + 1}.)")
    return texts


def fake_sample(reviews: int = 60, classes: int = 2, seed: int = 0) -> Sample:
    """Return a balanced sample whose source rows have gaps, as in a real sample."""
    label = np.random.default_rng(seed).permutation(np.arange(reviews) % classes).astype(np.int64)
    return make_sample(np.arange(reviews, dtype=np.int64) * 3 + 1, label, fake_texts(label, seed))


def fake_tokenizer() -> Tokenizer:
    """Return a tokenizer of words with their leading space; unknown words are <unk>."""
    split = pre_tokenizers.Split(Regex(r"\s?\w+|\s?[^\w\s]|\s"), "isolated")
    parts = [
        *SUBJECTS,
        *ASIDES,
        *(v for kind in VERDICTS for v in kind),
        *(r for kind in RATINGS for r in kind),
        TEMPLATE,
    ]
    text = " ".join([*parts, *WORDS, "(Screening.)", *map(str, range(1, 1001))])
    pieces = {piece for piece, _ in split.pre_tokenize_str(text)}
    pieces |= {piece for part in parts for piece, _ in split.pre_tokenize_str(part)}
    vocabulary = {token: i for i, token in enumerate(["<unk>", *sorted(pieces)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def fake_axes(epoch: int, classes: int, layers: int, width: int) -> np.ndarray:
    """Return the signal of each class at each layer, with length 1: [classes, layers + 1, width]."""
    axes = _generator("axes", classes).normal(size=(2, classes, layers + 1, width))
    mixed = axes[0] + (axes[1] if epoch else 0)
    if classes == 1:
        return np.zeros_like(mixed)
    mixed -= mixed.mean(axis=0)
    return mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)


def fake_residuals(epoch: int, prompts: Prompts, layers: int, width: int) -> np.ndarray:
    """Return residuals whose class signal grows with layer and epoch, in a stream that also grows.

    Layer 0 is constant, dimensions 3 and 7 are massive, half of the signal's direction is shared with the base, and the
    noise of a review is mostly the same in every epoch. float32 [reviews, layers + 1, width].
    """
    depth = np.arange(layers + 1) / layers
    spread = 0.5 + 1.5 * depth
    strength = (0.25 + 1.3 * (1 - np.exp(-epoch))) * np.clip((depth - 0.25) / 0.75, 0, 1) * spread
    common = _generator("mean").normal(size=(layers + 1, width)) * (1 + 4 * depth[:, None])
    common[:, [3, min(7, width - 1)]] *= 25
    mixed = fake_axes(epoch, prompts.classes, layers, width)
    rows = []
    for ids, label in zip(prompts.token_ids, prompts.labels, strict=True):
        noise = _generator("review", ids).normal(size=(layers + 1, width))
        noise = 0.9 * noise + 0.45 * _generator("epoch", epoch, ids).normal(size=(layers + 1, width))
        rows.append(common + spread[:, None] * noise + strength[:, None] * mixed[int(label)])
    residuals = np.stack(rows)
    residuals[:, 0] = common[0]
    return residuals.astype(np.float32)


class FakeModels(FakeComparisons):
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
        return f"{hashlib.sha256(Path(ref.place).name.encode()).hexdigest()[:12]}-{_epoch(ref)}"

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

    def readout(self, checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress = silent) -> Readout:
        """Return logits from the last residual along its class means; the base is biased towards class 0.

        Prompts that do not cover all classes, such as a typed text, are read by `label_logits`.
        """
        epoch = _epoch(checkpoint.ref)
        progress(0.0, f"Reading {len(prompts.token_ids)} reviews with {checkpoint.label}.")
        residuals = self.residuals(epoch, prompts, self.layers, self.width)
        if not prompts.asks:
            self.ran.append(checkpoint.fingerprint)
            return Readout(residuals, np.empty((len(residuals), 0), np.float32), residuals[None][:0])
        if len(np.unique(prompts.labels)) < prompts.classes:
            self.ran.append(checkpoint.fingerprint)
            logits = self.label_logits(residuals[:, -1], prompts.label_tokens, checkpoint, checkpoint)
            return Readout(residuals, logits, residuals[None][:0])
        last = residuals[:, -1].astype(np.float64)
        last = last - last.mean(axis=0)
        means = np.stack([last[prompts.labels == c].mean(axis=0) for c in range(prompts.classes)])
        noise = _generator("readout", epoch).normal(size=means.shape)
        reader = means + noise * (1.0 if epoch == 0 else 0.15)
        logits = -4.0 + last @ reader.T / np.linalg.norm(reader, axis=1)
        logits[:, 0] += 0.5 if epoch == 0 else 0.1
        self.ran.append(checkpoint.fingerprint)
        progress(1.0, f"Read {len(prompts.token_ids)} reviews with {checkpoint.label}.")
        return Readout(residuals, logits.astype(np.float32), residuals[None][:0])

    def label_logits(
        self,
        residuals: np.ndarray,
        label_tokens: tuple[int, ...],
        head: PinnedCheckpoint,
        norm: PinnedCheckpoint | None,
        progress: Progress = silent,
        normalized: bool = False,
    ) -> np.ndarray:
        """Apply a random head per checkpoint; a norm divides by the length."""
        rows = _generator("head", _epoch(head.ref)).normal(size=(VOCABULARY, self.width))
        x = residuals.astype(np.float64)
        if norm is not None:
            x = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9) * (3 + _epoch(norm.ref))
        logits = x @ rows.T
        if normalized:
            logits -= np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        return logits[..., list(label_tokens)].astype(np.float32)

    def read_text(
        self, checkpoint: PinnedCheckpoint, prompts: Prompts, top: int, progress: Progress = silent
    ) -> TextReadout:
        """Return at every token the residual of the prompt that ends there, so the last one equals `readout`."""
        ids, epoch = prompts.token_ids[0], _epoch(checkpoint.ref)
        progress(0.0, f"Reading {len(ids)} tokens.")
        starts = tuple(ids[: t + 1] for t in range(len(ids)))
        labels = np.zeros(len(ids), dtype=np.int64)
        ends = Prompts(
            "", starts, labels, prompts.label_tokens, labels.astype(bool), prompts.readout, count=prompts.count
        )
        residuals = self.residuals(epoch, ends, self.layers, self.width)
        everything = tuple(range(VOCABULARY))
        logits = self.label_logits(residuals, everything, checkpoint, checkpoint).astype(np.float64)
        chances = np.exp(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))
        best = np.argsort(-chances, axis=-1)[..., :top]
        following = np.full(chances.shape[:2], np.nan)
        for t, token in enumerate(ids[1:]):
            following[t] = chances[t, :, token]
        self.ran.append(checkpoint.fingerprint)
        return TextReadout(
            residuals,
            logits[..., list(prompts.label_tokens)].astype(np.float32),
            following.astype(np.float32),
            best,
            np.take_along_axis(chances, best, axis=-1).astype(np.float32),
        )

    def embedding(self, checkpoint: PinnedCheckpoint, which: Matrix, progress: Progress = silent) -> Embedding:
        """Return random rows; every epoch moves later rows more; untied."""
        epoch = _epoch(checkpoint.ref)
        progress(0.0, f"Opening {checkpoint.label}.")
        rows = _generator("rows", which).normal(size=(VOCABULARY, self.width))
        moved = _generator("moved", which, epoch).normal(size=rows.shape) * np.linspace(0.1, 0.4, VOCABULARY)[:, None]
        return Embedding((rows + epoch * moved + 0.2 * epoch).astype(np.float32), tied=False)

    def weight_changes(
        self, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, progress: Progress = silent
    ) -> tuple[WeightChange, ...]:
        """Return changes that grow with layer and epoch."""
        moved = abs(_epoch(checkpoint.ref) - _epoch(reference.ref))
        progress(0.0, "Comparing weights.")
        names: list[tuple[int | None, str]] = [(None, "transformer.wte.weight"), (None, "transformer.wpe.weight")]
        inside = ("attn.c_attn.weight", "mlp.c_fc.weight")
        names += [(layer, matrix) for layer in range(self.layers) for matrix in inside]
        return tuple(
            WeightChange(
                matrix if layer is None else f"transformer.h.{layer}.{matrix}",
                layer,
                matrix,
                0.01 * moved * (1 + (layer or 0)),
                1.5 + (layer or 0) if moved else float("nan"),
            )
            for layer, matrix in names
        )

    def contributions(
        self, checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress = silent
    ) -> Contributions:
        """Split the readout's logits over two heads per block and MLPs, with noise that the MLPs cancel."""
        logits, epoch = self.readout(checkpoint, prompts, progress).logits, _epoch(checkpoint.ref)
        blocks, heads = self.layers, 2
        share = _generator("shares", epoch).dirichlet(np.ones(blocks * (heads + 2)))
        parts = logits[:, None] * share.reshape(-1, 1)
        noise = _generator("parts", epoch).normal(size=(len(logits), blocks, prompts.classes))
        by_block = parts.reshape(len(logits), blocks, heads + 2, prompts.classes)
        by_head = by_block[:, :, :heads].copy()
        by_head[:, :, 0] += noise
        constant = np.ones(prompts.classes)
        return Contributions(
            np.tile(-constant, (len(logits), 1)).astype(np.float32),
            by_head.astype(np.float32),
            by_block[:, :, heads].astype(np.float32),
            (by_block[:, :, heads + 1] - noise).astype(np.float32),
            constant.astype(np.float32),
            np.empty((0, prompts.classes), np.float32),
        )

    def crossed_updates(
        self, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, prompts: Prompts, progress: Progress = silent
    ) -> np.ndarray:
        """Apply one matrix per block; it differs more from the base's with every epoch."""
        progress(0.0, "Crossing the blocks.")
        epochs = [_epoch(one.ref) for one in (reference, checkpoint)]
        size = (self.layers, self.width, self.width)
        common = _generator("blocks").normal(size=size)
        blocks = [common + 0.2 * epoch * _generator("change", epoch).normal(size=size) for epoch in epochs]
        inputs = [self.residuals(epoch, prompts, self.layers, self.width)[:, :-1] for epoch in epochs]
        crossed = [[np.einsum("rlw,lwv->rlv", x, block) for x in inputs] for block in blocks]
        return np.moveaxis(np.array(crossed), (0, 1), (2, 3)).astype(np.float32)

    def swaps(
        self,
        host: PinnedCheckpoint,
        donor: PinnedCheckpoint,
        plan: tuple[Swap, ...],
        prompts: Prompts,
        progress: Progress = silent,
        watch: Callable[[Swapped], None] = unwatched,
    ) -> np.ndarray:
        """Interpolate the logits of host and donor: later blocks matter more, MLPs more than attention.

        Every other review is a batch; progress is reported again after the second batch.
        """
        own, other = (self.readout(one, prompts).logits for one in (host, donor))
        share = {"block": 1.0, "attn": 0.3, "mlp": 0.6, "embed": 0.05}
        weight = np.arange(1, self.layers + 1) / (self.layers * (self.layers + 1) / 2)
        found = np.empty((len(plan), *own.shape), np.float32)
        for i, swap in enumerate(plan):
            progress(i / len(plan), f"Swapping: {i} of {len(plan)} blocks.")
            through = weight[swap.first : swap.last + 1].sum() if swap.part != "embed" else 1.0
            found[i] = own + share[swap.part] * through * (other - own)
        for start in range(2):
            batch = tuple(range(start, len(own), 2))
            watch(Swapped(batch, found[:, batch]))
            progress(1.0, f"Swapping: {start + 1} of 2 batches.")
        return found

    def steered(
        self,
        checkpoint: PinnedCheckpoint,
        plan: tuple[Intervention, ...],
        prompts: Prompts,
        progress: Progress = silent,
    ) -> np.ndarray:
        """Add a vector's component along the class signal to the logits; an ablation removes the last layer's."""
        read, found = self.readout(checkpoint, prompts, progress), []
        axes = fake_axes(_epoch(checkpoint.ref), prompts.classes, self.layers, self.width)
        last = read.residuals[:, -1].astype(np.float64)
        for i, one in enumerate(plan):
            progress(i / len(plan), f"Steering: {i} of {len(plan)}.")
            if isinstance(one, Ablation):
                moved = -((last - one.mean[-1]) @ one.unit)[:, None] * (axes[:, -1] @ one.unit)
            else:
                moved = sum(axes[:, layer] @ vector for layer, vector in zip(one.layers, one.vectors, strict=True))
            found.append(read.logits + moved)
        return np.array(found, np.float32).reshape(len(plan), *read.logits.shape)

    def side_effects(
        self,
        checkpoint: PinnedCheckpoint,
        plan: tuple[Intervention, ...],
        prompts: Prompts,
        progress: Progress = silent,
    ) -> SideEffects:
        """Return a small loss for every intervention, larger for later epochs."""
        progress(0.0, "Predicting under interventions.")
        predicted = prompts.lengths - 1
        plain = np.array([_generator("loss", ids).gamma(20, 0.2) for ids in prompts.token_ids]) * predicted
        size = (len(plan), len(predicted))
        extra = (0.05 + 0.02 * _epoch(checkpoint.ref)) * predicted * _generator("cost").gamma(2, 0.5, size)
        kl = 1.2 * extra
        loss = (plain + extra).astype(np.float32)
        return SideEffects(plain.astype(np.float32), loss, kl.astype(np.float32), predicted)

    def continuation(
        self,
        checkpoint: PinnedCheckpoint,
        prompts: Prompts,
        intervention: Intervention | None,
        tokens: int,
        sampling: Sampling | None,
        progress: Progress = silent,
    ) -> tuple[int, ...]:
        """Return random tokens that depend on epoch, intervention and seed."""
        pushed = float(intervention.vectors.sum()) if isinstance(intervention, SteeringVectors) else 0.0
        chosen = _generator("written", _epoch(checkpoint.ref), pushed, sampling, prompts.token_ids[0])
        progress(0.0, f"Generating: 0 of {tokens} tokens.")
        return tuple(chosen.integers(1, fake_tokenizer().get_vocab_size(), tokens).tolist())

    def patch(
        self, host: PinnedCheckpoint, donor: PinnedCheckpoint, prompts: Prompts, progress: Progress = silent
    ) -> Patched:
        """Interpolate the logits of host and donor: lower layers act at a middle token, higher layers at the last."""
        ends = [self.read_text(one, prompts, 1).label_logits[-1, -1] for one in (host, donor)]
        tokens = len(prompts.token_ids[0])
        depth = np.arange(self.layers + 1) / self.layers
        share = 0.1 * _generator("patched", prompts.token_ids[0]).normal(size=(self.layers + 1, tokens))
        share[:, tokens // 2] += 0.7 * (1 - depth)
        share[:, -1] += depth
        share[-1] = 0.0
        share[-1, -1] = 1.0
        progress(0.5, f"Patching {tokens} tokens.")
        logits = ends[0] + share[:, :, None] * (ends[1] - ends[0])
        return Patched(logits.astype(np.float32), ends[0], ends[1])

    def output_space(
        self,
        checkpoint: PinnedCheckpoint,
        reference: PinnedCheckpoint,
        prompts: Prompts,
        sets: tuple[tuple[int, ...], ...],
        progress: Progress = silent,
    ) -> OutputSpace:
        """Compare one text at a time, with last residuals and an unembedding that drift with the epoch."""
        epochs = [_epoch(one.ref) for one in (reference, checkpoint)]
        drift = _generator("drift").normal(size=self.width)
        size = (VOCABULARY, self.width)
        rows = _generator("head").normal(size=size)
        heads = [rows + 0.15 * e * _generator("moved", e).normal(size=size) for e in epochs]
        found: dict[str, list[Any]] = {name: [] for name in OutputSpace.__annotations__}
        for done, ids in enumerate(prompts.token_ids):
            progress(
                done / len(prompts.token_ids), f"Comparing predictions: {done} of {len(prompts.token_ids)} prompts."
            )
            common = _generator("hidden", ids).normal(size=(len(ids), self.width))
            streams = [2 * common + 0.5 * e * drift for e in epochs]
            normed = [(2 + 0.2 * epochs[i]) * x / _lengths(x)[:, None] for i, x in enumerate(streams)]
            logits = [x @ heads[i].T for i, x in enumerate(normed)]
            there, here = (x - np.logaddexp.reduce(x, axis=1, keepdims=True) for x in logits)
            ends = np.stack([there[-1], here[-1]])
            pairs = (streams, normed)
            found["cosine"].append([np.mean((a * b).sum(axis=1) / _lengths(a) / _lengths(b)) for a, b in pairs])
            found["norm_ratio"].append([np.mean(_lengths(b) / _lengths(a)) for a, b in pairs])
            found["entropy"].append(-(np.exp(ends[1]) * ends[1]).sum())
            found["set_logprob"].append([ends[:, list(one)].mean(axis=1) if one else [np.nan] * 2 for one in sets])
            found["set_mass"].append([np.exp(ends[:, list(one)]).sum(axis=1) for one in sets])
            found["predicted"].append(len(ids) - 1)
            found["loss"].append(-here[range(len(ids) - 1), ids[1:]].sum())
            found["kl"].append((np.exp(there) * (there - here))[:-1].sum())
            found["probability"].append(np.exp(ends))
            found["logprob_change"].append(ends[1] - ends[0])
            found["rose"].append(ends[1] > ends[0])
        arrays = {name: np.array(values, np.float64) for name, values in found.items()}
        arrays |= {name: arrays[name].mean(axis=0) for name in ("probability", "logprob_change", "rose")}
        arrays |= {name: np.moveaxis(arrays[name], 2, 0) for name in ("set_logprob", "set_mass")}
        predicted = arrays.pop("predicted").astype(np.int64)
        return OutputSpace(predicted=predicted, **{name: x.astype(np.float32) for name, x in arrays.items()})

    def starting(self) -> float:
        """Return 0: nothing is imported."""
        return 0.0

    def opening(self, checkpoint: PinnedCheckpoint) -> float:
        """Return half a second."""
        return 0.5

    def reading(self, checkpoint: PinnedCheckpoint, tokens: int) -> float:
        """Return a millisecond per token."""
        return tokens / 1000


def _lengths(x: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x, axis=1)


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
