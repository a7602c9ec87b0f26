"""The port to checkpoints: what may be asked of a model, and the arrays that come back. No torch here.

Every array has crossed the border: detached, on the CPU, float32, read-only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int64
from tokenizers import Tokenizer

from backend.memo import NOT_IN_KEY
from backend.study import CheckpointRef

Progress = Callable[[float, str], None]
"""Called with the fraction done (0..1) and a sentence; raises Cancelled when the work is no longer wanted."""


def silent(_fraction: float, _sentence: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Facts:
    """What config and weight headers tell without opening a model; `layers` is L, the number of blocks.

    `kind` is what `family` in study.toml says; `has_head` is False for an encoder without a classification head, whose
    residuals can be compared and which answers nothing. `answers` is how many classes a classification head has.
    """

    architecture: str
    layers: int
    width: int
    vocabulary: int
    parameters: int
    kind: str = "causal"
    has_head: bool = True
    answers: int | None = None


@dataclass(frozen=True)
class PinnedCheckpoint:
    """A checkpoint as content: the fingerprint of its files and the dtype it computes in."""

    fingerprint: str
    dtype: str
    ref: CheckpointRef = field(metadata=NOT_IN_KEY, compare=False)
    base: CheckpointRef = field(metadata=NOT_IN_KEY, compare=False)
    facts: Facts = field(metadata=NOT_IN_KEY, compare=False)
    device_map: str | None = field(default=None, metadata=NOT_IN_KEY, compare=False)

    @property
    def label(self) -> str:
        """The label that tables and pictures show."""
        return self.ref.label


@dataclass(frozen=True, eq=False)
class Prompts:
    """What the models see: token ids of each prompt, without padding, with the class of each and the label tokens.

    `digest` covers token ids, labels, label tokens and `readout` ("last" token for causal models, "first" for
    encoders); two equal digests mean equal input. The label tokens of an encoder are the rows of its head, 0 to
    classes - 1. `truncated` says which texts were cut, `lengths` counts tokens.
    """

    digest: str
    token_ids: tuple[tuple[int, ...], ...] = field(metadata=NOT_IN_KEY)
    labels: Int64[np.ndarray, " reviews"] = field(metadata=NOT_IN_KEY)
    label_tokens: tuple[int, ...] = field(metadata=NOT_IN_KEY)
    truncated: Bool[np.ndarray, " reviews"] = field(metadata=NOT_IN_KEY)
    readout: str = field(default="last", metadata=NOT_IN_KEY)

    @property
    def lengths(self) -> Int64[np.ndarray, " reviews"]:
        """Tokens in each prompt."""
        return np.array([len(ids) for ids in self.token_ids], dtype=np.int64)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.label_tokens)


@dataclass(frozen=True, eq=False)
class Readout:
    """One checkpoint at the readout position of every prompt, float32.

    `residuals[i, l]` is the residual stream entering block l of prompt i, l = L after the last block and before the
    final norm; `logits[i, c]` the model's own logit of class c's label token (an encoder's: of class c), NaN where
    the model has no head.
    """

    residuals: Float32[np.ndarray, "reviews layers width"]
    logits: Float32[np.ndarray, "reviews classes"]


@dataclass(frozen=True, eq=False)
class TextReadout:
    """One checkpoint reading one prompt: what is in the residual stream at every token and layer, float32.

    `residuals[t, l]` enters block l at token t, l = L after the last block and before the final norm. The rest reads
    that residual as the model reads its last one, through its own final norm and head: `label_logits` of the label
    tokens, `next_probability` of the token that really came next (NaN at the last), and the `top_tokens` it makes
    likeliest, likeliest first, with their `top_probabilities` (0..1).
    """

    residuals: Float32[np.ndarray, "tokens layers width"]
    label_logits: Float32[np.ndarray, "tokens layers classes"]
    next_probability: Float32[np.ndarray, "tokens layers"]
    top_tokens: Int64[np.ndarray, "tokens layers top"]
    top_probabilities: Float32[np.ndarray, "tokens layers top"]


@dataclass(frozen=True, eq=False)
class Contributions:
    """What every part of a checkpoint adds to the label logits at the readout position; all of it sums to them.

    The final norm's scale is held at the value that it has for the prompt; what it subtracts (the mean) and multiplies
    by (its weight) is linear. `embed` is what enters block 0, `attn_bias` that of the attention's output, `mlps` have
    theirs in them, `norm_bias` is what the final norm's bias and the head's add to every prompt.
    """

    embed: Float32[np.ndarray, "reviews classes"]
    heads: Float32[np.ndarray, "reviews blocks heads classes"]
    attn_bias: Float32[np.ndarray, "reviews blocks classes"]
    mlps: Float32[np.ndarray, "reviews blocks classes"]
    norm_bias: Float32[np.ndarray, " classes"]


Matrix = Literal["input", "output"]
"""Which of a model's two rows per token: the input embedding, or the unembedding that scores the next token."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """One of a model's two matrices with a row per token id.

    `tied` says that both are the same one, or that there is no unembedding (an encoder's head scores no tokens).

    There may be more rows than the tokenizer has tokens: padding that no text reaches.
    """

    rows: Float32[np.ndarray, "tokens width"]
    tied: bool


@dataclass(frozen=True, eq=False)
class OutputSpace:
    """What a checkpoint and its reference predict for each text; every distribution is over the tokens both have.

    Axes of 2 are reference, checkpoint. At the last token: `entropy` in nats, `set_logprob` and `set_mass`, the mean
    log-probability and the summed probability of each set of tokens (an empty set: NaN and 0), and over all texts the
    mean `probability` of every token, the mean `logprob_change` (nats) and the share of texts in which it `rose`.
    `loss` and `kl` are sums over the `predicted` positions, all but the last: the checkpoint's -log-probability of the
    token that came next, and KL(reference, checkpoint). `cosine` and `norm_ratio` (checkpoint over reference) compare
    the last residual [before, after] the final norm, averaged over the text's tokens.
    """

    entropy: Float32[np.ndarray, " texts"]
    set_logprob: Float32[np.ndarray, "2 texts sets"]
    set_mass: Float32[np.ndarray, "2 texts sets"]
    predicted: Int64[np.ndarray, " texts"]
    loss: Float32[np.ndarray, " texts"]
    kl: Float32[np.ndarray, " texts"]
    cosine: Float32[np.ndarray, "texts 2"]
    norm_ratio: Float32[np.ndarray, "texts 2"]
    probability: Float32[np.ndarray, "2 tokens"]
    logprob_change: Float32[np.ndarray, " tokens"]
    rose: Float32[np.ndarray, " tokens"]


@dataclass(frozen=True)
class WeightChange:
    """How much one weight matrix changed: `layer` is None outside the blocks, `matrix` its name within the block.

    `name` is that of the state dict, fused as stored; outside the blocks `matrix` is the same.

    `relative_change` is the Frobenius norm of the change over that of the reference, `stable_rank` the squared
    Frobenius norm of the change over its squared spectral norm (1..full rank; NaN where nothing changed).
    """

    name: str
    layer: int | None
    matrix: str
    relative_change: float
    stable_rank: float


@dataclass(frozen=True)
class Swap:
    """Parts that a host takes from a donor: `part` of the blocks `first` to `last`, both counted in.

    `attn` and `mlp` come with the norm that they read through; `embed`, token and position embeddings, has no blocks.
    """

    part: Literal["block", "attn", "mlp", "embed"]
    first: int = 0
    last: int = -1


@runtime_checkable
class Models(Protocol):
    """Port to checkpoints. Implemented by `backend.checkpoints`, faked by `tests.fakes`."""

    @property
    def device(self) -> str:
        """The device that models run on, in words; asking for it opens nothing."""
        ...

    def fingerprint(self, ref: CheckpointRef, base: CheckpointRef) -> str:
        """Digest of weights, config and tokenizer; CheckpointError with one sentence if anything is amiss."""
        ...

    def facts(self, ref: CheckpointRef, base: CheckpointRef) -> Facts:
        """Architecture and sizes, read without torch."""
        ...

    def tokenizer(self, ref: CheckpointRef, base: CheckpointRef) -> Tokenizer:
        """The checkpoint's tokenizer (an adapter without one has its base's)."""
        ...

    def check(self, ref: CheckpointRef, base: CheckpointRef) -> None:
        """CheckpointError unless the checkpoint has the base's architecture and sizes and decodes shared ids alike."""
        ...

    def readout(self, checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> Readout:
        """Residuals and label logits at the readout position."""
        ...

    def label_logits(
        self,
        residuals: Float32[np.ndarray, "*places width"],
        label_tokens: tuple[int, ...],
        head: PinnedCheckpoint,
        norm: PinnedCheckpoint | None,
        progress: Progress,
    ) -> Float32[np.ndarray, "*places classes"]:
        """Residuals through the final norm of `norm` (None: no norm), then the unembedding of `head`."""
        ...

    def read_text(self, checkpoint: PinnedCheckpoint, prompts: Prompts, top: int, progress: Progress) -> TextReadout:
        """One prompt (the first of `prompts`) at every token and layer, with its `top` likeliest next tokens."""
        ...

    def contributions(self, checkpoint: PinnedCheckpoint, prompts: Prompts, progress: Progress) -> Contributions:
        """What embeddings, heads and MLPs add to the label logits (direct logit attribution)."""
        ...

    def crossed_updates(
        self, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, prompts: Prompts, progress: Progress
    ) -> Float32[np.ndarray, "reviews blocks 2 2 width"]:
        """What each block adds to the residual stream at the readout position: [..., whose block, whose residuals].

        Index 0 is the reference, 1 the checkpoint; residuals are those of every position of the prompt.
        """
        ...

    def embedding(self, checkpoint: PinnedCheckpoint, which: Matrix, progress: Progress) -> Embedding:
        """The row of every token, adapters merged; UndefinedError where the model has no unembedding."""
        ...

    def output_space(
        self,
        checkpoint: PinnedCheckpoint,
        reference: PinnedCheckpoint,
        prompts: Prompts,
        sets: tuple[tuple[int, ...], ...],
        progress: Progress,
    ) -> OutputSpace:
        """Next-token predictions and final hidden states of both, at every position; `sets` are sets of token ids."""
        ...

    def weight_changes(
        self, checkpoint: PinnedCheckpoint, reference: PinnedCheckpoint, progress: Progress
    ) -> tuple[WeightChange, ...]:
        """The change of every two-dimensional weight, in the order of the file."""
        ...

    def swaps(
        self,
        host: PinnedCheckpoint,
        donor: PinnedCheckpoint,
        plan: tuple[Swap, ...],
        prompts: Prompts,
        progress: Progress,
    ) -> Float32[np.ndarray, "swaps reviews classes"]:
        """Label logits of the host with each swap of the plan; the donor's parts, all the rest its own."""
        ...

    def seconds(self, checkpoint: PinnedCheckpoint, tokens: int) -> float:
        """Expected seconds to run `tokens` tokens through the checkpoint, opening it included."""
        ...
