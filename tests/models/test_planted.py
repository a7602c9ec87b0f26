"""Planted changes: one block, one head, one embedding row or one direction; every measurement must point there.

docs/known-truth.md has the table of what is found and what cannot be.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from backend.caching.progress import silent
from backend.lab.differences import Scaling
from backend.lab.outputs import Swap
from backend.models.measurements.crossed_blocks import crossed_updates
from backend.models.measurements.differences import differences
from backend.models.measurements.direct_attribution import contributions
from backend.models.measurements.embeddings import embedding
from backend.models.measurements.patching import patch
from backend.models.measurements.residuals import collect
from backend.models.measurements.scaling import scaled
from backend.models.measurements.swaps import run_swaps
from backend.models.measurements.weight_changes import weight_changes
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts
from tests.models.random_encoders import encoder, some_prompts
from tests.models.random_models import LAYERS, WIDTH, as_opened, make_prompts, random_model

LAYOUTS = ("gpt2", "llama", "bert")
BLOCK, HEAD, TOKEN, HEADS = 1, 2, 17, 4
BLOCKS = {"gpt2": "transformer.h", "llama": "model.layers", "bert": "bert.encoder.layer"}
ATTENTION = {"gpt2": "attn", "llama": "self_attn", "bert": "attention"}
OUT = {"gpt2": "attn.c_proj", "llama": "self_attn.o_proj", "bert": "attention.output.dense"}
WRITES = {"gpt2": "mlp.c_proj", "llama": "mlp.down_proj", "bert": "output.dense"}
DIRECTION = np.random.default_rng(5).normal(size=WIDTH).astype(np.float32)


def of_layout(layout: str, seed: int) -> PreTrainedModel:
    if layout == "bert":
        return encoder("Bert", seed=seed)
    settings: dict[str, Any] = {"mlp_bias": True} if layout == "llama" else {}
    return random_model(layout, seed=seed, **settings)


def planted(layout: str, plant: str) -> PreTrainedModel:
    """A copy of the layout's model of seed 0 with one thing of seed 1 in it, or one direction added."""
    model, other = copy.deepcopy(of_layout(layout, 0)), of_layout(layout, 1)
    block: Any = model.get_submodule(f"{BLOCKS[layout]}.{BLOCK}")
    theirs: Any = other.get_submodule(f"{BLOCKS[layout]}.{BLOCK}")
    with torch.no_grad():
        if plant == "block":
            block.load_state_dict(theirs.state_dict())
        elif plant == "head":  # what the head writes: its part of the attention's output matrix
            part = slice(HEAD * WIDTH // HEADS, (HEAD + 1) * WIDTH // HEADS)
            at: Any = part if layout == "gpt2" else (slice(None), part)
            block.get_submodule(OUT[layout]).weight[at] = theirs.get_submodule(OUT[layout]).weight[at]
        elif plant == "row":
            if layout == "gpt2":  # the head keeps its own row
                head: Any = model.get_submodule("lm_head")
                head.weight = torch.nn.Parameter(head.weight.clone(), requires_grad=False)
            embed: Any = model.get_input_embeddings()
            embed.weight[TOKEN] += torch.from_numpy(DIRECTION)
        else:
            block.get_submodule(WRITES[layout]).bias += torch.from_numpy(DIRECTION)
    return model


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return request.param


def pair(layout: str, plant: str) -> tuple[LoadedModel, LoadedModel, Prompts]:
    """Reference, planted model, and prompts of which the first half hold TOKEN at position 2."""
    prompts = some_prompts() if layout == "bert" else make_prompts([9, 12, 7, 20, 15, 11])
    ids = []
    for i, row in enumerate(prompts.token_ids):
        kept = [TOKEN + 1 if token == TOKEN else token for token in row]
        if len(kept) > 3 and i < len(prompts.token_ids) // 2:
            kept[2] = TOKEN
        ids.append(tuple(kept))
    prompts = Prompts("planted", tuple(ids), prompts.labels, prompts.label_tokens, prompts.truncated, prompts.readout)
    return as_opened(of_layout(layout, 0)), as_opened(planted(layout, plant)), prompts


IN_BLOCK = ("block", "head", "direction")


@pytest.mark.parametrize("plant", ["block", "head", "row"])
def test_weights_name_the_block_or_the_embedding(layout: str, plant: str):
    before, after, _ = pair(layout, plant)
    changed = {(one.layer, one.matrix) for one in weight_changes(after, before, silent) if one.relative_change > 0}
    assert changed
    if plant == "row":
        assert {layer for layer, _ in changed} == {None} and all("emb" in name or "wte" in name for _, name in changed)
    else:
        assert {layer for layer, _ in changed} == {BLOCK}
    if plant == "head":
        assert [name for _, name in changed] == [f"{OUT[layout]}.weight"]


def test_tokens_name_the_row(layout: str):
    before, after, _ = pair(layout, "row")
    moved = np.linalg.norm(embedding(after, "input").rows - embedding(before, "input").rows, axis=1)
    assert np.flatnonzero(moved).tolist() == [TOKEN]


@pytest.mark.parametrize("plant", IN_BLOCK)
def test_own_changes_are_in_the_block_and_later_ones_inherited(layout: str, plant: str):
    before, after, prompts = pair(layout, plant)
    crossed = crossed_updates(after, before, prompts, silent)
    own = np.abs(crossed[:, :, 1, 0] - crossed[:, :, 0, 0]).max(axis=(0, 2))
    inherited = np.abs(crossed[:, :, 0, 1] - crossed[:, :, 0, 0]).max(axis=(0, 2))
    assert np.flatnonzero(own > 1e-4).tolist() == [BLOCK]
    assert np.flatnonzero(inherited > 1e-4).tolist() == list(range(BLOCK + 1, LAYERS))


@pytest.mark.parametrize("plant", IN_BLOCK)
def test_a_swap_of_the_block_restores_the_reference(layout: str, plant: str):
    before, after, prompts = pair(layout, plant)
    logits = run_swaps(after, before, [Swap("block", i, i) for i in range(LAYERS)], prompts, silent)
    reference = collect(before, prompts, silent).logits
    off = np.abs(logits - reference).max(axis=(1, 2))
    assert off[BLOCK] < 1e-3 and (np.delete(off, BLOCK) > 1e-2).all()
    half = Swap("attn" if plant == "head" else "mlp", BLOCK, BLOCK)
    if plant != "block":
        assert np.abs(run_swaps(after, before, [half], prompts, silent)[0] - reference).max() < 1e-3


def test_a_swap_of_the_embeddings_restores_the_row(layout: str):
    before, after, prompts = pair(layout, "row")
    logits = run_swaps(after, before, [Swap("embed"), Swap("block", BLOCK, BLOCK)], prompts, silent)
    off = np.abs(logits - collect(before, prompts, silent).logits).max(axis=(1, 2))
    assert off[0] < 1e-3 < 1e-2 < off[1]


@pytest.mark.parametrize("plant", [*IN_BLOCK, "row"])
def test_patching_acts_from_the_layer_after_the_block_or_at_the_token(layout: str, plant: str):
    before, after, prompts = pair(layout, plant)
    found = patch(after, before, prompts, silent)
    effect = np.abs(found.logits - found.host).max(axis=2)
    if plant == "row":
        row = prompts.token_ids[0].index(TOKEN) if TOKEN in prompts.token_ids[0] else None
        if row is not None:
            assert np.flatnonzero(effect[0] > 1e-4).tolist() == [row]
        return
    assert (effect[: BLOCK + 1] < 1e-4).all() and effect[BLOCK + 1].max() > 1e-3


@pytest.mark.parametrize("layout_of", ["gpt2", "llama"])
@pytest.mark.parametrize("plant", IN_BLOCK)
def test_attribution_changes_at_the_part_and_after_it(layout_of: str, plant: str):
    before, after, prompts = pair(layout_of, plant)
    ours, theirs = contributions(after, prompts, silent), contributions(before, prompts, silent)
    # the final norm's scale depends on the whole stream, so a part is compared in its direction
    heads = _turned(ours.heads[:, : BLOCK + 1], theirs.heads[:, : BLOCK + 1])
    mlps = _turned(ours.mlps[:, :BLOCK], theirs.mlps[:, :BLOCK])
    assert not (mlps > 1e-3).any() and not (heads[:BLOCK] > 1e-3).any()
    if plant == "head":
        assert np.flatnonzero(heads[BLOCK] > 1e-3).tolist() == [HEAD]
    if plant == "direction":
        assert not (heads[BLOCK] > 1e-3).any()
        assert _turned(ours.mlps[:, BLOCK], theirs.mlps[:, BLOCK]).max() > 1e-3


def _turned(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """1 - |cosine| of the label logits of a part between both models, the largest over reviews."""
    product = (ours * theirs).sum(axis=-1)
    lengths = np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1)
    return (1 - np.abs(product) / np.maximum(lengths, 1e-12)).max(axis=0)


@pytest.mark.parametrize("plant", IN_BLOCK)
def test_similarity_falls_at_the_layer_after_the_block(layout: str, plant: str):
    before, after, prompts = pair(layout, plant)
    x, y = (collect(one, prompts, silent).residuals for one in (before, after))
    cosine = (x * y).sum(axis=-1) / np.linalg.norm(x, axis=-1) / np.linalg.norm(y, axis=-1)
    same = cosine.mean(axis=0) > 1 - 1e-6
    assert same[: BLOCK + 1].all() and not same[BLOCK + 1 :].any()


@pytest.mark.parametrize("plant", [*IN_BLOCK, "row"])
def test_differences_start_at_the_layer_after_the_block_or_at_the_token(layout: str, plant: str):
    before, after, prompts = pair(layout, plant)
    count = len(prompts.token_ids)
    found = differences(after, before, prompts, np.arange(count), 5, silent)
    length = np.linalg.norm(found.total, axis=-1)  # [texts, places, layers]
    first = 0 if plant == "row" else BLOCK + 1
    with_change = length.max(axis=(0, 1)) > 1e-3
    assert not with_change[:first].any() and with_change[first:].all()
    if plant == "direction" and layout != "bert":  # BERT's norm comes after what the block adds
        mean = found.total[:, -1, BLOCK + 1].sum(axis=0)
        assert mean @ DIRECTION / np.linalg.norm(mean) / np.linalg.norm(DIRECTION) == pytest.approx(1, abs=1e-4)
    if plant == "row":
        held = np.array([TOKEN in ids for ids in prompts.token_ids])
        assert (length[held, 2, 0] > 1e-3).all() and (length[~held] < 1e-3).all()
        if found.predictions is not None:
            moved = found.predictions.kl > 1e-6
            at = held[found.predictions.text] & (found.predictions.position >= 2)
            assert not moved[~at].any() and moved[at].mean() > 0.9


@pytest.mark.parametrize("plant", [*IN_BLOCK, "row"])
def test_scaling_that_part_alone_is_the_whole_change(layout: str, plant: str):
    before, after, prompts = pair(layout, plant)
    parts = [Scaling("block", 1.0, (i,)) for i in range(LAYERS)] + [Scaling(one, 1.0) for one in ("embed", "head")]
    logits = scaled(before, after, parts, prompts, silent)
    plain, whole = (collect(one, prompts, silent).logits for one in (before, after))
    at = LAYERS if plant == "row" else BLOCK
    assert np.abs(logits[at] - whole).max() < 1e-3 < 1e-2 < np.abs(whole - plain).max()
    assert np.abs(np.delete(logits, at, axis=0) - plain).max() < 1e-3
