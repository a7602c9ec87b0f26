"""What comes back when a model is asked for something, as arrays with named axes. No torch here.

Every array has crossed the border: detached, on the CPU, float32, read-only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64


@dataclass(frozen=True, eq=False)
class Readout:
    """One checkpoint at the readout position of every prompt, float32.

    `residuals[i, l]` is the residual stream entering block l of prompt i, l = L after the last block and before the
    final norm; `logits[i, c]` the model's own logit of class c's label token (a classification head's: of class c), NaN
    where the model has no head. Where label words have several tokens it is the log-probability of the whole word
    (nats), and `after[k]` holds the residuals behind the prompt and the k-th beginning of a word.
    """

    residuals: Float32[np.ndarray, "reviews layers width"]
    logits: Float32[np.ndarray, "reviews classes"]
    after: Float32[np.ndarray, "beginnings reviews layers width"]

    @property
    def reading(self) -> Float32[np.ndarray, "positions reviews layers width"]:
        """The residuals of every position that label words are read from, the readout position first."""
        return np.concatenate([self.residuals[None], self.after]) if len(self.after) else self.residuals[None]


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
class Patched:
    """A host's answers to one prompt with one of its residuals taken from a donor's own run, float32.

    `logits[l, t]` are its label logits when what enters block l at token t is the donor's, l = L what leaves the last
    block. `host` and `donor` are the label logits of either as it is, NaN for a donor without a head.
    """

    logits: Float32[np.ndarray, "layers tokens classes"]
    host: Float32[np.ndarray, " classes"]
    donor: Float32[np.ndarray, " classes"]


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


@dataclass(frozen=True, eq=False)
class Swapped:
    """What a batch of prompts gave: which of them it was, and label logits of the host with each swap of a plan."""

    prompts: tuple[int, ...]
    logits: Float32[np.ndarray, "swaps batch classes"]


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """A sparse autoencoder over the residuals of `layer`: features(x), and x again from the few that fire.

    Before activation they are (x - decoder_bias) @ encoder + encoder_bias; of these the `k` largest that exceed their
    `threshold` fire, with that value, and the others are 0. The reconstruction is features @ decoder + decoder_bias.
    The decoder's rows have length 1, so a value is in units of the residuals. A TopK autoencoder has thresholds 0; one
    with ReLU or JumpReLU has k = features.
    """

    layer: int
    k: int
    encoder: Float32[np.ndarray, "width features"]
    encoder_bias: Float32[np.ndarray, " features"]
    decoder: Float32[np.ndarray, "features width"]
    decoder_bias: Float32[np.ndarray, " width"]
    threshold: Float32[np.ndarray, " features"]

    @property
    def width(self) -> int:
        """The width of the residual stream that it reads."""
        return self.decoder.shape[1]

    @property
    def features(self) -> int:
        """How many features it has."""
        return self.decoder.shape[0]


@dataclass(frozen=True, eq=False)
class Trained(Autoencoder):
    """An autoencoder and how its training went, at some of its steps (the last one is among them).

    `loss` is the mean squared error per token over the variance of the tokens, `explained_variance` 1 - the same
    without what revives dead features, both over the step's batch; `dead` is the share of features that have not fired
    lately. `tokens` is how many it was trained on in all, `distinct` how many different ones (token positions of a text
    read by a checkpoint) there were, `left_out` how many more were not used.
    """

    step: Int64[np.ndarray, " points"]
    loss: Float32[np.ndarray, " points"]
    explained_variance: Float32[np.ndarray, " points"]
    dead: Float32[np.ndarray, " points"]
    tokens: int
    distinct: int
    left_out: int


@dataclass(frozen=True, eq=False)
class FeatureActivations:
    """Which features fire at every token of every prompt, in the order of the prompts and their tokens.

    `index` and `value` hold what fires, largest first, and 0, 0.0 behind it. `left_out` marks tokens that do not count:
    position 0, and residuals longer than ten times the median. `error` is the squared distance of a token's residual
    from its reconstruction, `spread` that from the mean of the tokens that count, `norm` the residual's length.
    Over the tokens that count, `explained_variance` is 1 - sum of errors / sum of spreads, and `l0` how many features
    fire at a token.
    """

    review: Int32[np.ndarray, " tokens"]
    position: Int32[np.ndarray, " tokens"]
    index: Int32[np.ndarray, "tokens k"]
    value: Float32[np.ndarray, "tokens k"]
    left_out: Bool[np.ndarray, " tokens"]
    norm: Float32[np.ndarray, " tokens"]
    error: Float32[np.ndarray, " tokens"]
    spread: Float32[np.ndarray, " tokens"]
    explained_variance: float
    l0: float


@dataclass(frozen=True, eq=False)
class Losses:
    """What a model's next-token predictions lose when the residuals of a layer are replaced, summed per review.

    Cross entropies in nats, summed over the review's `predicted` positions, all but the last: `clean` as the model is,
    `ablated` with the mean of the tokens that count in their place, `reconstructed` with the autoencoder's output.
    Tokens that do not count (see `FeatureActivations`) keep their residuals in all three.
    """

    predicted: Int64[np.ndarray, " reviews"]
    clean: Float32[np.ndarray, " reviews"]
    ablated: Float32[np.ndarray, " reviews"]
    reconstructed: Float32[np.ndarray, " reviews"]


@dataclass(frozen=True, eq=False)
class SteeringVectors:
    """Something added to the residual stream: `vectors[i]` to what enters block `layers[i]`, L after the last block.

    `positions` is the readout position alone, or all of the prompt and of what is written behind it.
    """

    layers: tuple[int, ...]
    vectors: Float32[np.ndarray, "pushed width"]
    positions: Literal["readout", "all"] = "readout"


@dataclass(frozen=True, eq=False)
class Ablation:
    """A direction taken out of the residual stream: h -= ((h - mean[l]) . unit) unit at every layer and position.

    `unit` is of length 1. The first position of a causal model, which others attend to for want of anything better,
    is spared; that of an encoder, which is the one that is read, is not. Arditi et al. 2024, NeurIPS (directional
    ablation); here around the mean, so that what all texts share stays.
    """

    unit: Float32[np.ndarray, " width"]
    mean: Float32[np.ndarray, "layers width"]


Intervention = SteeringVectors | Ablation
"""What is done to a model's residual stream while it runs."""


@dataclass(frozen=True, eq=False)
class SideEffects:
    """What interventions do to next-token predictions: sums over the `predicted` positions of each text, all but one.

    `plain_loss` and `loss` are -log-probabilities (nats) of the tokens that came next, of the model as it is and under
    each intervention, `kl` is KL(as it is, under the intervention).
    """

    plain_loss: Float32[np.ndarray, " texts"]
    loss: Float32[np.ndarray, "interventions texts"]
    kl: Float32[np.ndarray, "interventions texts"]
    predicted: Int64[np.ndarray, " texts"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn: from the predicted distribution at this temperature, by this seed."""

    temperature: float
    seed: int
