"""Check that attention of a model can run on some tokens alone, on cached keys and values, before steering uses it."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache

from backend.models.runtime.blocks import attend, embed, proceed, surroundings
from backend.models.runtime.branches import Kept, around_branches, can_be_cut, run_branches
from backend.models.runtime.load import LoadedModel
from backend.models.runtime.rounding import equal
from backend.models.runtime.self_check import FAILURES, TOKENS, some_ids

_BRANCHES = 2


@torch.inference_mode()
def continues(loaded: LoadedModel) -> bool:
    """Return whether a text that is read in two pieces, with transformers' cache, ends with the logits of the whole."""
    ids, model = some_ids(loaded)[:1], loaded.model
    try:
        whole = model(input_ids=ids, use_cache=False).logits[:, -1]
        cache = DynamicCache(config=model.config)
        pieces = ids.split([TOKENS // 2, TOKENS - TOKENS // 2 - 1, 1], dim=1)
        read = [model(input_ids=one, past_key_values=cache, use_cache=True, logits_to_keep=1) for one in pieces]
        return equal(loaded, read[-1].logits[:, -1], whole, whole)
    except FAILURES:
        return False


@torch.inference_mode()
def caches(loaded: LoadedModel) -> bool:
    """Return whether a changed token that runs alone gives what it gives in the whole text."""
    if loaded.checked.blocks or loaded.components.family.kind != "causal":
        return False
    ids = some_ids(loaded)
    try:
        return _agree(loaded, ids)
    except FAILURES:
        return False


def _agree(loaded: LoadedModel, ids: Tensor) -> bool:
    around = surroundings(loaded, ids)
    if not can_be_cut(loaded, around, ids.shape[1]):
        return False
    readout = torch.tensor([TOKENS - 1, TOKENS // 2], device=ids.device)
    x, kept = embed(loaded, ids), Kept()
    rows = torch.arange(len(ids), device=x.device)
    first, trunk = x, [x[rows, readout]]
    for block in range(len(loaded.components.blocks)):
        x = proceed(loaded, block, attend(loaded, block, x, kept.beside(around)))
        trunk.append(x[rows, readout])
    kept.filling = False
    steps = torch.linspace(-1, 1, _BRANCHES * x.shape[-1], device=x.device).sin().reshape(_BRANCHES, -1)
    added = [steps * first.float().std(), *(torch.zeros_like(steps) for _ in loaded.components.blocks)]
    beside = around_branches(around, first, readout, _BRANCHES, kept)
    ours = run_branches(loaded, [0] * _BRANCHES, added, trunk, beside, lambda _: None)
    for i in range(_BRANCHES):
        x = first.clone()
        x[rows, readout] += added[0][i].to(x.dtype)
        for block in range(len(loaded.components.blocks)):
            x = proceed(loaded, block, attend(loaded, block, x, around))
        theirs = x[rows, readout]
        if not equal(loaded, ours[:, i], theirs, theirs - trunk[-1]):
            return False
    return True
