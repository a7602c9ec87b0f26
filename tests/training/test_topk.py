"""One step of a TopK autoencoder against autograd on dense products."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from backend.training import topk
from backend.training.topk import AUX_WEIGHT, FeatureRates, TopK

WIDTH, FEATURES, K, TOKENS = 10, 60, 5, 300
NEVER = 10**9


def model_and_tokens(seed: int = 0) -> tuple[TopK, Tensor]:
    """Weights away from where training starts, so that no gradient is 0."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(TOKENS, WIDTH, generator=generator) + 1
    model = TopK(FEATURES, K, x.mean(0), generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        model.keep_length()
    return model, x


def dense_loss(model: TopK, x: Tensor, dead: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Reconstruction and auxiliary loss by the paper's formulas, for autograd."""
    centred = x - model.decoder_bias
    before = centred @ model.encoder.T + model.encoder_bias
    kept = torch.zeros_like(before).scatter(1, before.topk(K, dim=1).indices, 1.0)
    fires = before.relu() * kept
    output = fires @ model.decoder + model.decoder_bias
    variance = (x - x.mean(0)).square().sum(1).mean()
    loss = (output - x).square().sum(1).mean() / variance
    if dead is None:
        return loss, torch.zeros(())
    some = slice(topk.AUX_TOKENS)
    inside = (x[some] - model.decoder_bias.detach()) @ model.encoder[dead].T + model.encoder_bias[dead]
    kept = torch.zeros_like(inside).scatter(1, inside.topk(WIDTH // 2, dim=1).indices, 1.0)
    missing = (x - output)[some].detach()
    off = (inside.relu() * kept) @ model.decoder[dead] - missing
    return loss, AUX_WEIGHT * off.square().sum(1).mean() / variance


def tangent(model: TopK, gradient: Tensor) -> Tensor:
    """A gradient of decoder rows without the part along them."""
    rows = model.decoder.detach()
    return gradient - (gradient * rows).sum(1, keepdim=True) * rows


@pytest.mark.parametrize("chunk", [2**23, 7 * FEATURES])
def test_loss_and_gradients_equal_those_of_autograd(monkeypatch: pytest.MonkeyPatch, chunk: int):
    monkeypatch.setitem(topk.CHUNK_VALUES, "cpu", chunk)
    model, x = model_and_tokens()
    loss, _ = dense_loss(model, x)
    wanted = torch.autograd.grad(loss, model.parameters())
    step = model.backward(x, NEVER)
    torch.testing.assert_close(step.error / step.spread, loss.detach(), rtol=1e-5, atol=0)
    assert float(step.auxiliary) == 0
    for parameter, gradient in zip(model.parameters(), wanted, strict=True):
        assert parameter.grad is not None
        expected = tangent(model, gradient) if parameter is model.decoder else gradient
        assert float(expected.abs().max()) > 0
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-6)


def test_dead_features_learn_from_the_error_that_the_others_leave():
    model, x = model_and_tokens()
    rarely = torch.arange(0, FEATURES, 3)
    with torch.no_grad():
        model.encoder_bias[rarely] = -2
    fires = ((x - model.decoder_bias) @ model.encoder.T + model.encoder_bias).topk(K, dim=1).indices
    still = torch.tensor([one for one in rarely.tolist() if not bool((fires == one).any())])
    assert len(still) > WIDTH // 2
    model.seen = 100  # nothing has fired so far
    loss, auxiliary = dense_loss(model, x, still)
    wanted = torch.autograd.grad(loss + auxiliary, model.parameters())
    step = model.backward(x, 100 + TOKENS)
    assert float(step.auxiliary) > 0
    torch.testing.assert_close(step.auxiliary, auxiliary.detach(), rtol=1e-4, atol=0)
    for parameter, gradient in zip(model.parameters(), wanted, strict=True):
        assert parameter.grad is not None
        expected = tangent(model, gradient) if parameter is model.decoder else gradient
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-6)


def test_what_has_fired_is_remembered():
    model, x = model_and_tokens()
    model.backward(x, NEVER)
    before = (x - model.decoder_bias) @ model.encoder.T + model.encoder_bias
    found = before.topk(K, dim=1)
    fired = torch.zeros(FEATURES, dtype=torch.bool)
    fired[found.indices[found.values > 0]] = True
    assert bool(fired.any())
    torch.testing.assert_close(~model.dead(TOKENS), fired)
    assert not bool(model.dead(TOKENS + 1).any())


def test_rows_keep_their_length():
    model, x = model_and_tokens()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    model.backward(x, NEVER)
    assert model.decoder.grad is not None
    torch.testing.assert_close((model.decoder.grad * model.decoder).sum(1), torch.zeros(FEATURES), rtol=0, atol=1e-6)
    optimizer.step()
    model.keep_length()
    torch.testing.assert_close(model.decoder.detach().norm(dim=1), torch.ones(FEATURES))


@given(st.integers(1, 40), st.integers(1, 9), st.integers(9, 70_000), st.integers(0, 2**31))
def test_sums_over_the_tokens_of_a_feature_equal_a_plain_loop(tokens: int, k: int, features: int, seed: int):
    generator = np.random.default_rng(seed)
    index = np.stack([generator.choice(features, k, replace=False) for _ in range(tokens)])
    weight, x = generator.normal(size=(tokens, k)), generator.normal(size=(tokens, 3))
    sums, totals = np.zeros((features, 3)), np.zeros(features)
    for t in range(tokens):
        for j in range(k):
            sums[index[t, j]] += weight[t, j] * x[t]
            totals[index[t, j]] += weight[t, j]
    rates = FeatureRates(torch.from_numpy(index), features)
    weights, rows = (torch.from_numpy(a.astype(np.float32)) for a in (weight, x))
    np.testing.assert_allclose(rates.sums(weights, rows).numpy(), sums, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rates.totals(weights).numpy(), totals, rtol=1e-4, atol=1e-5)
