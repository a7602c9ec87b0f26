"""What are the residuals of a layer made of? The features of a sparse autoencoder, read in reference and checkpoint.

One autoencoder reads both models, so a feature means the same in both, and its firing can be compared token by token.
Bricken et al. 2023 (Towards Monosemanticity), Cunningham et al. 2023, Gao et al. 2024 (TopK), Lindsey et al. 2024
(crosscoders for model diffing), Minder et al. 2025.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from backend.caching.memoize import memoized
from backend.derived.feature_activations import (
    ActiveQuery,
    Opened,
    Source,
    active,
    find,
    promoted,
    scores_tokens,
    training_of,
)
from backend.lab.autoencoders import AutoencoderQuery, AutoencoderSpec
from backend.lab.cost import Cost, cost_of_fields
from backend.lab.lab import Lab
from backend.lab.outputs import Autoencoder, FeatureActivations
from backend.stats import feature_rates, metrics
from backend.stats.estimate import Estimate
from backend.stats.rows import cell, interval, of_class
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.facts import Facts
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts
from backend.vocabulary.display import name

KEY = ("checkpoint", "layer", "feature", "class")

TrainedOn = Literal["both", "reference", "checkpoint"]
PROMOTED = 10
SURE = 0.05
"""Features with at most this q-value count as telling the classes apart."""
PerModel = Float[np.ndarray, "models features"]


@dataclass(frozen=True)
class Query:
    """The models whose residuals of `layer` are read, the prompts, and the autoencoder.

    The autoencoder has `features` features, of which `k` fire at a token. It is trained on the residuals of both models
    mixed, or of one model (`trained_on`), in many small steps at a high rate, which suits a short training. If it is
    `opened` from files, the training settings are not used.
    """

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    prompts: Prompts
    layer: int
    features: int
    k: int
    trained_on: TrainedOn = "both"
    tokens: int = 200_000
    batch: int = 512
    learning_rate: float = 5e-3
    seed: int = 0
    opened: Opened | None = None

    @property
    def source(self) -> Source:
        """Return where the autoencoder comes from."""
        if self.opened is not None:
            return self.opened
        both = tuple(dict.fromkeys((self.reference, self.checkpoint)))
        chosen = {"both": both, "reference": (self.reference,), "checkpoint": (self.checkpoint,)}[self.trained_on]
        spec = AutoencoderSpec(
            self.layer, self.features, self.k, self.tokens, self.batch, self.learning_rate, self.seed
        )
        return AutoencoderQuery(chosen, self.prompts, spec)

    @property
    def cost(self) -> Cost:
        """The readouts, what fires, and passes that take as long as the loss and the promoted tokens."""
        models = (self.reference, self.checkpoint)
        steps = [active.request(ActiveQuery(self.source, model, self.prompts)) for model in models]
        return cost_of_fields(self).with_passes(self.checkpoint, self.prompts, 10.0).with_fitting(0.0, *steps)


@dataclass(frozen=True, eq=False)
class Result:
    """Every feature of an autoencoder over `layer`; models are reference, checkpoint. NaN = undefined.

    `rate` is the share of tokens on which a feature fires (those that count in both models), `mean_when_firing` its
    mean activation there and `mean` that over all tokens, in residual units. `change` is the rate in the checkpoint
    minus the rate in the reference, with a 95 % interval over reviews, and `state` an index into
    `feature_rates.STATES`. `auc` is that of the feature's largest activation over a review's tokens for telling classes
    apart (0..1), `p` its p-value and `q` the same with false discoveries controlled over all features that fire in the
    model. `cosine` (-1..1) is that of the decoder's row and the model's class direction at the layer. `promoted` are
    places in `words`, likeliest first, none for a model that scores no tokens.

    Of the autoencoder: `explained_variance` and `l0` in each model, `losses` in nats per predicted token (the model as
    it is, with the layer's mean in the place of its residuals, with the reconstruction) and `loss_recovered`, all NaN
    for encoders. `left_out` is the number of tokens left out. `step`, `training_loss` and `training_dead` record the
    training; they are empty for an autoencoder opened from files.
    """

    layer: int
    k: int
    rate: PerModel
    mean_when_firing: PerModel
    mean: PerModel
    change: Estimate[Float[np.ndarray, " features"]]
    state: Int[np.ndarray, " features"]
    auc: Float[np.ndarray, "models directions features"]
    p: Float[np.ndarray, "models directions features"]
    q: Float[np.ndarray, "models directions features"]
    cosine: Float[np.ndarray, "models directions features"]
    promoted: Int[np.ndarray, "models features top"]
    words: tuple[str, ...]
    explained_variance: Float[np.ndarray, " models"]
    l0: Float[np.ndarray, " models"]
    losses: Float[np.ndarray, "models replacements"]
    loss_recovered: Float[np.ndarray, " models"]
    tokens: int
    left_out: int
    step: Int[np.ndarray, " points"]
    training_loss: Float[np.ndarray, " points"]
    training_variance: Float[np.ndarray, " points"]
    training_dead: Float[np.ndarray, " points"]
    trained_tokens: int

    @property
    def separates(self) -> bool:
        """Return whether there are classes that a feature could tell apart."""
        return bool(np.isfinite(self.auc).any())

    @property
    def dead(self) -> Float[np.ndarray, " models"]:
        """The share of features that never fire."""
        return (self.rate == 0).mean(axis=1)

    def promotes(self, model: int, feature: int) -> list[str]:
        """Return the tokens that a feature promotes."""
        return [self.words[i] for i in self.promoted[model, feature].tolist()]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per feature and model, and per class if there are more than two."""
        models = (query.reference, query.checkpoint)
        for m in range(1 if query.reference == query.checkpoint else 2):
            for feature in range(self.rate.shape[1]):
                for c in range(self.auc.shape[1]):
                    yield {
                        "checkpoint": models[m].label,
                        "layer": self.layer,
                        "feature": feature,
                        **of_class(c, self.auc.shape[1]),
                        **self._numbers(m, feature),
                        **{key: cell(getattr(self, key)[m, c, feature]) for key in ("auc", "p", "q", "cosine")},
                        "promoted": " ".join(self.promotes(m, feature)),
                    }

    def _numbers(self, model: int, feature: int) -> dict[str, Any]:
        return {
            "rate": cell(self.rate[model, feature]),
            "mean_when_firing": cell(self.mean_when_firing[model, feature]),
            "mean": cell(self.mean[model, feature]),
            "state": feature_rates.STATES[int(self.state[feature])],
            **interval(self, "change", feature),
        }


def features(
    activations: tuple[FeatureActivations, FeatureActivations],
    decoder: Float[np.ndarray, "features width"],
    d: Float[np.ndarray, "models directions width"],
    labels: metrics.Labels,
    classes: int,
) -> dict[str, Any]:
    """Compute the fields of Result about features, from activations of both models at the same tokens."""
    kept = ~(activations[0].left_out | activations[1].left_out)
    counted = [
        feature_rates.count(fired.review, fired.index, fired.value, kept, len(labels), len(decoder))
        for fired in activations
    ]
    change = Estimate(*feature_rates.rate_change(counted[0], counted[1], labels))
    rate = np.stack([rates.rate for rates in counted])
    tests = [feature_rates.tell_apart(rates.largest, labels, classes) for rates in counted]
    return {
        "rate": rate,
        "mean_when_firing": np.stack([rates.mean_when_firing for rates in counted]),
        "mean": np.stack([rates.mean for rates in counted]),
        "change": change,
        "state": feature_rates.states(rate[0], rate[1], change.low, change.high),
        "auc": np.stack([auc for auc, _ in tests]),
        "p": np.stack([p for _, p in tests]),
        "q": np.stack([feature_rates.false_discovery(p) for _, p in tests]),
        "cosine": metrics.cosine(decoder[None, None], d[:, :, None]),
        "tokens": int(kept.sum()),
        "left_out": int((~kept).sum()),
    }


def fraction_recovered(losses: Float[np.ndarray, "models replacements"]) -> Float[np.ndarray, " models"]:
    """(CE ablated - CE reconstructed) / (CE ablated - CE clean): 1 if the reconstruction loses nothing.

    NaN if ablation loses nothing.
    """
    return metrics.ratio(losses[:, 1] - losses[:, 2], losses[:, 1] - losses[:, 0])


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Train or open the autoencoder, read both models with it, then measure."""
    autoencoder = find(query.source, lab.part(0, 2))
    rest = lab.part(1, 2)
    models = (query.reference, query.checkpoint)
    prompts = query.prompts
    activations = [active(ActiveQuery(query.source, model, prompts), rest.part(i, 8)) for i, model in enumerate(models)]
    readouts = rest.part(2, 8).readouts(models, prompts)
    at = slice(autoencoder.layer, autoencoder.layer + 1)
    residuals = [readout.residuals[:, at] for readout in readouts]
    d = np.stack([metrics.directions(x, prompts.labels, prompts.classes)[:, 0] for x in residuals])
    d = d if d.shape[1] else np.zeros((len(d), 1, d.shape[2]))  # one class has no direction
    rest.progress(3 / 8, "Comparing features between models and classes.")
    about = features((activations[0], activations[1]), autoencoder.decoder, d, prompts.labels, prompts.classes)
    losses = np.stack([_losses(autoencoder, model, prompts, rest.part(4 + i, 8)) for i, model in enumerate(models)])
    best, words = _promoted(autoencoder, models, rest.part(6, 8))
    trained = training_of(autoencoder)
    nothing = np.zeros(0)
    lab.progress(1.0, f"Measured the features of {query.checkpoint.label}.")
    return Result(
        layer=autoencoder.layer,
        k=autoencoder.k,
        **about,
        promoted=best,
        words=words,
        explained_variance=np.array([fired.explained_variance for fired in activations]),
        l0=np.array([fired.l0 for fired in activations]),
        losses=losses,
        loss_recovered=fraction_recovered(losses),
        step=trained.step if trained else np.zeros(0, dtype=np.int64),
        training_loss=trained.loss if trained else nothing,
        training_variance=trained.explained_variance if trained else nothing,
        training_dead=trained.dead if trained else nothing,
        trained_tokens=trained.tokens if trained else 0,
    )


def _losses(
    autoencoder: Autoencoder, checkpoint: PinnedCheckpoint, prompts: Prompts, lab: Lab
) -> Float[np.ndarray, " replacements"]:
    """Return nats per predicted token: clean, ablated, reconstructed."""
    if not scores_tokens(checkpoint):
        return np.full(3, np.nan)
    losses = lab.autoencoders.loss_recovered(autoencoder, checkpoint, prompts, autoencoder.layer, lab.progress)
    total = [loss.sum(dtype=np.float64) for loss in (losses.clean, losses.ablated, losses.reconstructed)]
    return np.array(total) / max(1, int(losses.predicted.sum()))


def _promoted(
    autoencoder: Autoencoder, models: tuple[PinnedCheckpoint, PinnedCheckpoint], lab: Lab
) -> tuple[Int[np.ndarray, "models features top"], tuple[str, ...]]:
    """Return the tokens that each feature promotes in either model, as indices into the words."""
    if not all(map(scores_tokens, models)):
        return np.zeros((2, autoencoder.features, 0), dtype=np.int64), ()
    ids = np.stack([promoted(autoencoder.decoder, model, PROMOTED, lab.part(i, 2)) for i, model in enumerate(models)])
    used, places = np.unique(ids, return_inverse=True)
    tokenizers = [lab.models.tokenizer(model.ref, model.base) for model in models]
    largest = max(tokenizers, key=lambda tokenizer: tokenizer.get_vocab_size())
    return places.reshape(ids.shape), name(largest, used.tolist())


def usual_k(facts: Facts) -> int:
    """Return the number of features that fire at a token: 32, as in Gao et al. 2024, or fewer in a narrow model."""
    return 32 if facts.width >= 512 else 16


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query: middle layer, reference and last checkpoint, four times the width; KeyError without them."""
    against, last = study.checkpoint(reference), study.checkpoints[-1]
    facts = against.facts
    return [Query(last, against, study.prompts, facts.layers // 2, 4 * facts.width, usual_k(facts))]
