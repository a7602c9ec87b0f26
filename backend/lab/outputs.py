"""Results of measuring a model, as arrays with named axes. No torch here.

Every array is detached, on the CPU, float32 and read-only.
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
    final norm. `logits[i, c]` is the model's own logit of class c's label token (or of class c in a classification
    head), NaN for a model without a head. With label words of several tokens it is the log-probability of the whole
    word (nats), and `after[k]` holds the residuals after the prompt followed by the k-th prefix of a label word.
    """

    residuals: Float32[np.ndarray, "reviews layers width"]
    logits: Float32[np.ndarray, "reviews classes"]
    after: Float32[np.ndarray, "beginnings reviews layers width"]

    @property
    def reading(self) -> Float32[np.ndarray, "positions reviews layers width"]:
        """Return the residuals of every position that label words are read from, the readout position first."""
        return np.concatenate([self.residuals[None], self.after]) if len(self.after) else self.residuals[None]


@dataclass(frozen=True, eq=False)
class TextReadout:
    """The residual stream of one checkpoint at every token and layer of one prompt, float32.

    `residuals[t, l]` enters block l at token t, l = L after the last block and before the final norm. The other arrays
    read that residual through the model's own final norm and head (logit lens): `label_logits` of the label tokens,
    `next_probability` of the token that follows in the text (NaN at the last), and the `top_tokens`, most likely first,
    with their `top_probabilities` (0..1).
    """

    residuals: Float32[np.ndarray, "tokens layers width"]
    label_logits: Float32[np.ndarray, "tokens layers classes"]
    next_probability: Float32[np.ndarray, "tokens layers"]
    top_tokens: Int64[np.ndarray, "tokens layers top"]
    top_probabilities: Float32[np.ndarray, "tokens layers top"]


@dataclass(frozen=True, eq=False)
class Contributions:
    """What every component of a checkpoint adds to the label logits at the readout position; they sum to the logits.

    The final norm's scale is held at its value for the prompt; its mean and its weight are linear. `embed` is the
    residual entering block 0, `attn_bias` the bias of the attention's output, `mlps` include their biases, and
    `norm_bias` is the biases of the final norm and the head, equal for every prompt. Of label words of several tokens
    they are the logits of the first tokens, and `later` is the log-probability (nats) of each word's other tokens;
    differences between classes of the sum are those of the words' log-probabilities. It has no rows otherwise.
    """

    embed: Float32[np.ndarray, "reviews classes"]
    heads: Float32[np.ndarray, "reviews blocks heads classes"]
    attn_bias: Float32[np.ndarray, "reviews blocks classes"]
    mlps: Float32[np.ndarray, "reviews blocks classes"]
    norm_bias: Float32[np.ndarray, " classes"]
    later: Float32[np.ndarray, "rows classes"]


Matrix = Literal["input", "output"]
"""One of a model's two matrices: the input embedding, or the unembedding that scores the next token."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """One of a model's two matrices with a row per token id.

    `tied` is True if both are one matrix, or if there is no unembedding (an encoder's head scores no tokens). A matrix
    may have more rows than the tokenizer has tokens, for padding.
    """

    rows: Float32[np.ndarray, "tokens width"]
    tied: bool


@dataclass(frozen=True, eq=False)
class Patched:
    """Label logits of a host on one prompt, with one of its residuals replaced by the donor's, float32.

    `logits[l, t]` has the donor's residual entering block l at token t; l = L is the residual leaving the last block.
    `host` and `donor` are the label logits of the unchanged models, NaN for a donor without a head.
    """

    logits: Float32[np.ndarray, "layers tokens classes"]
    host: Float32[np.ndarray, " classes"]
    donor: Float32[np.ndarray, " classes"]


@dataclass(frozen=True, eq=False)
class OutputSpace:
    """Predictions of a checkpoint and its reference for each text; distributions are over the tokens that both have.

    Axes of 2 are reference, checkpoint. At the last token: `entropy` in nats, `set_logprob` and `set_mass`, the mean
    log-probability and the summed probability of each set of tokens (an empty set: NaN and 0), and over all texts the
    mean `probability` of every token, the mean `logprob_change` (nats) and the share of texts in which it `rose`.
    `loss` and `kl` are sums over the `predicted` positions, all except the last: the checkpoint's -log-probability of
    the next token, and KL(reference, checkpoint). `cosine` and `norm_ratio` (checkpoint over reference) compare the
    last residual [before, after] the final norm, averaged over the text's tokens.
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
    """The change of one weight: `layer` is None outside the blocks, `matrix` is its name within the block.

    `name` is its name in the state dict, fused as stored; outside the blocks `matrix` equals `name`.

    `relative_change` is the Frobenius norm of the change over the reference's, `stable_rank` the squared Frobenius
    norm of the change over its squared spectral norm (1..full rank; NaN for an unchanged matrix). `vector`: a norm
    or a bias.
    """

    name: str
    layer: int | None
    matrix: str
    relative_change: float
    stable_rank: float
    vector: bool = False


@dataclass(frozen=True)
class Swap:
    """Parts that a host takes from a donor: `part` of the blocks `first` to `last`, inclusive.

    `attn` and `mlp` include the norm before them; `embed`, token and position embeddings, has no blocks.
    """

    part: Literal["block", "attn", "mlp", "embed"]
    first: int = 0
    last: int = -1


@dataclass(frozen=True, eq=False)
class Swapped:
    """One finished batch: the indices of its prompts, and label logits of the host with each swap of a plan."""

    prompts: tuple[int, ...]
    logits: Float32[np.ndarray, "swaps batch classes"]


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """A sparse autoencoder over the residuals of `layer`: few active features, and a reconstruction from them.

    Pre-activations are (x - decoder_bias) @ encoder + encoder_bias. The `k` largest that exceed their `threshold` are
    active, with that value, and the others are 0. The reconstruction is features @ decoder + decoder_bias. The
    decoder's rows have length 1, so a value is in units of the residuals. A TopK autoencoder has thresholds 0; a ReLU
    or JumpReLU autoencoder has k = features.
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
        """Return the width of the residual stream that it reads."""
        return self.decoder.shape[1]

    @property
    def features(self) -> int:
        """Return the number of features."""
        return self.decoder.shape[0]


@dataclass(frozen=True, eq=False)
class Trained(Autoencoder):
    """An autoencoder and its training curve, at some steps including the last.

    `loss` is the mean squared error per token over the variance of the tokens, plus the auxiliary loss;
    `explained_variance` is 1 - loss without the auxiliary loss. Both are over the step's batch. `dead` is the share of
    features that have not fired lately. `tokens` counts the training tokens, `distinct` the different ones (token
    positions of a text read by a checkpoint), and `left_out` the tokens that were not used.
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
    """Active features at every token of every prompt, in the order of the prompts and their tokens.

    `index` and `value` hold the active features, largest first, padded with 0 and 0.0. `left_out` marks position 0 and
    residuals longer than ten times the median. `error` is the squared distance of a token's residual from its
    reconstruction, `spread` its squared distance from the mean of the tokens not left out, `norm` its length. Over the
    tokens not left out, `explained_variance` is 1 - sum of errors / sum of spreads, and `l0` the mean number of active
    features.
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
    """Cross entropy of next-token predictions when the residuals of a layer are replaced, in nats, summed per review.

    Sums are over the review's `predicted` positions, all except the last: `clean` for the unchanged model, `ablated`
    with the mean residual in place of each, `reconstructed` with the autoencoder's output. Tokens that are left out
    (see `FeatureActivations`) keep their residuals in all three.
    """

    predicted: Int64[np.ndarray, " reviews"]
    clean: Float32[np.ndarray, " reviews"]
    ablated: Float32[np.ndarray, " reviews"]
    reconstructed: Float32[np.ndarray, " reviews"]


@dataclass(frozen=True, eq=False)
class SteeringVectors:
    """Vectors added to the residual stream: `vectors[i]` to the residual entering block `layers[i]`.

    Layer L is the residual leaving the last block. `positions` is only the readout position, or all positions of the
    prompt and of its continuation.
    """

    layers: tuple[int, ...]
    vectors: Float32[np.ndarray, "pushed width"]
    positions: Literal["readout", "all"] = "readout"


@dataclass(frozen=True, eq=False)
class Ablation:
    """A direction removed from the residual stream: h -= ((h - mean[l]) . unit) unit at every layer and position.

    `unit` has length 1. The first position of a causal model, an attention sink, is left unchanged; that of an encoder
    is the readout position and is ablated. Arditi et al. 2024, NeurIPS (directional ablation); here around the mean, so
    the component that all texts share is kept.
    """

    unit: Float32[np.ndarray, " width"]
    mean: Float32[np.ndarray, "layers width"]


Intervention = SteeringVectors | Ablation
"""A change of a model's residual stream while it runs."""


@dataclass(frozen=True, eq=False)
class SideEffects:
    """Effects of interventions on next-token predictions, summed over each text's `predicted` positions.

    `plain_loss` and `loss` are -log-probabilities (nats) of the next tokens, for the unchanged model and under each
    intervention. `kl` is KL(unchanged, under the intervention).
    """

    plain_loss: Float32[np.ndarray, " texts"]
    loss: Float32[np.ndarray, "interventions texts"]
    kl: Float32[np.ndarray, "interventions texts"]
    predicted: Int64[np.ndarray, " texts"]


@dataclass(frozen=True)
class Sampling:
    """Settings for sampling the next token from the predicted distribution: temperature and seed."""

    temperature: float
    seed: int
