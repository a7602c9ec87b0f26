"""Compare the measurements of one model with plain transformers, hooks and numpy: the contract of a family.

Each part returns its worst error, relative to the largest number of the reference; a refused part returns None.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from backend.caching.progress import silent
from backend.errors import CheckpointError
from backend.lab.outputs import SteeringVectors, Swap
from backend.models.measurements.direct_attribution import contributions
from backend.models.measurements.logit_lens import label_logits, read_text
from backend.models.measurements.patching import patch
from backend.models.measurements.residuals import collect
from backend.models.measurements.steering import steered
from backend.models.measurements.swaps import run_swaps
from backend.models.runtime.components import anatomy_of
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Prompts
from tests.tiny_families import VOCABULARY, tiny

PARTS = (
    *("residuals", "logit lens", "block swaps", "attention and MLP swaps", "embedding swap", "steering", "patching"),
    "attribution",
)
LENGTHS = (11, 5, 9)
LABELS = (7, 11)


def opened(architecture: str, seed: int, **settings: Any) -> LoadedModel:
    """A tiny model of a class, checked as when it is opened."""
    model = tiny(architecture, seed, **settings)
    loaded = LoadedModel(model, anatomy_of(model), torch.device("cpu"), 0)
    _ = loaded.checked
    return loaded


def prompts_for(loaded: LoadedModel) -> Prompts:
    """Three prompts of different length, longer than the models' windows, without special tokens."""
    generator = np.random.default_rng(0)
    ids = tuple(tuple(generator.integers(2, VOCABULARY, length).tolist()) for length in LENGTHS)
    encoder = loaded.components.family.kind == "encoder"
    labels = (0, 1) if encoder or not loaded.components.family.predicts else LABELS
    return Prompts(
        "contract", ids, np.array([0, 1, 0]), labels, np.zeros(3, dtype=bool), "first" if encoder else "last"
    )


def measured(architecture: str, **settings: Any) -> dict[str, float | None]:
    """Return the worst error of every part; None where the part is refused."""
    found: dict[str, float | None] = dict.fromkeys(PARTS)
    try:
        host, donor = opened(architecture, 0, **settings), opened(architecture, 1, **settings)
    except CheckpointError:
        return found
    prompts = prompts_for(host)
    checks: dict[str, Callable[..., float]] = {
        "residuals": _residuals,
        "logit lens": _lens,
        "block swaps": lambda a, b, texts: _swaps(a, b, texts, (Swap("block", 1, 1), Swap("block", 0, 1))),
        "attention and MLP swaps": lambda a, b, texts: _swaps(a, b, texts, (Swap("attn", 1, 1), Swap("mlp", 0, 1))),
        "embedding swap": lambda a, b, texts: _swaps(a, b, texts, (Swap("embed"),)),
        "steering": _steering,
        "patching": _patching,
        "attribution": _attribution,
    }
    for name, compare in checks.items():
        try:
            found[name] = compare(host, donor, prompts)
        except CheckpointError:
            found[name] = None
    return found


def _error(ours: Any, theirs: Any) -> float:
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape or not np.isfinite(ours).all():
        return float("inf")
    return float(np.abs(ours - theirs).max() / max(1e-6, np.abs(theirs).max()))


def _place(prompts: Prompts, ids: tuple[int, ...]) -> int:
    return len(ids) - 1 if prompts.readout == "last" else 0


@torch.no_grad()
def _plain(loaded: LoadedModel, prompts: Prompts, model: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Return residuals at every layer and label logits of each prompt, read alone with hooks on plain modules."""
    model = model or loaded.model
    residuals, logits = [], []
    for ids in prompts.token_ids:
        states: list[Tensor] = []
        with ExitStack() as hooks:
            for block in _blocks(model, loaded):
                before = block.register_forward_pre_hook(_entering(states), with_kwargs=True)
                hooks.callback(before.remove)
            hooks.callback(_blocks(model, loaded)[-1].register_forward_hook(_leaving(states)).remove)
            out = model(input_ids=torch.tensor([ids]), **_uncached(loaded))
        place = _place(prompts, ids)
        residuals.append(torch.stack([state[0, place] for state in states]).numpy())
        if loaded.components.family.has_head:
            rows = out.logits[0, place] if loaded.components.family.predicts else out.logits[0]
            logits.append(rows[list(prompts.label_tokens)].numpy())
    return np.stack(residuals), np.stack(logits) if logits else np.zeros((0, 2))


def _uncached(loaded: LoadedModel) -> dict[str, bool]:
    return {"use_cache": False} if loaded.components.family.kind == "causal" else {}


def _blocks(model: Any, loaded: LoadedModel) -> list[nn.Module]:
    names = {id(module): name for name, module in loaded.model.named_modules()}
    return [model.get_submodule(names[id(block.whole)]) for block in loaded.components.blocks]


def _entering(states: list[Tensor]) -> Any:
    return lambda _module, args, kwargs: states.append(args[0] if args else kwargs["hidden_states"])


def _leaving(states: list[Tensor]) -> Any:
    return lambda _module, _args, out: states.append(out[0] if isinstance(out, tuple | list) else out)


def _residuals(host: LoadedModel, _donor: LoadedModel, prompts: Prompts) -> float:
    found = collect(host, prompts, silent)
    residuals, logits = _plain(host, prompts)
    error = _error(found.residuals, residuals)
    return max(error, _error(found.logits, logits)) if host.components.family.has_head else error


def _lens(host: LoadedModel, _donor: LoadedModel, prompts: Prompts) -> float:
    """The last layer must read as the model itself does; an earlier one as a model without the blocks after it."""
    residuals, logits = _plain(host, prompts)
    norm = host if host.components.family.kind == "causal" else None
    error = _error(label_logits(residuals[:, -1], prompts.columns, host, norm), logits)
    cut = copy.deepcopy(host.model)
    with _skipping(_blocks(cut, host)[2:]):
        early = _plain(host, prompts, cut)[1]
    error = max(error, _error(label_logits(residuals[:, 2], prompts.columns, host, norm), early))
    text = read_text(host, prompts, 3, silent)
    place = _place(prompts, prompts.token_ids[0])
    return max(error, _error(text.label_logits[place, -1], logits[0]), _error(text.label_logits[place, 2], early[0]))


@contextmanager
def _skipping(blocks: list[nn.Module]) -> Iterator[None]:
    """Let blocks return the residuals that they are given."""

    def keep(_module: nn.Module, args: Any, kwargs: Any, out: Any) -> Any:
        x = args[0] if args else kwargs["hidden_states"]
        return type(out)((x, *out[1:])) if isinstance(out, tuple | list) else x

    with ExitStack() as hooks:
        for block in blocks:
            hooks.callback(block.register_forward_hook(keep, with_kwargs=True).remove)
        yield


def _swaps(host: LoadedModel, donor: LoadedModel, prompts: Prompts, plan: tuple[Swap, ...]) -> float:
    found = run_swaps(host, donor, plan, prompts, silent)
    return max(
        _error(logits, _plain(host, prompts, _mixed(host, donor, swap))[1])
        for swap, logits in zip(plan, found, strict=True)
    )


def _mixed(host: LoadedModel, donor: LoadedModel, swap: Swap) -> Any:
    """Return a copy of the host with the donor's weights in some parts."""
    model = copy.deepcopy(host.model)
    names = {id(module): name for name, module in host.model.named_modules()}
    for block in _blocks(model, host):  # ALBERT's blocks share weights
        for module in block.modules():
            for name, weight in module.named_parameters(recurse=False):
                setattr(module, name, nn.Parameter(weight.detach().clone()))
    weights, own = donor.model.state_dict(), model.state_dict()
    taken: list[str] = []
    blocks = host.components.blocks
    for i in range(swap.first, swap.last + 1):
        block = blocks[i]
        norms = {"attn": (block.ln1, block.ln1_post), "mlp": (block.ln2, block.ln2_post, block.mlp_out)}
        parts = {"attn": (block.attn,), "mlp": (block.mlp,), "block": (block.whole,)}[swap.part]
        for part in (*parts, *norms.get(swap.part, ())):
            inner = list(part) if isinstance(part, nn.Sequential) else [part]
            taken += [names[id(one)] for one in inner if one is not None]
    if swap.part == "embed":
        inside = tuple(names[id(block.whole)] + "." for block in blocks)
        head = tuple(
            f"{name}." for name in ("lm_head", "score", "classifier", "pooler", "head", "pre_classifier", "decoder")
        )
        body = host.components.family.body
        last = names.get(id(host.components.ln_final), "-")
        taken = [
            name.rpartition(".")[0]
            for name in own
            if "embedding_hidden_mapping_in" in name
            or not name.startswith((*inside, *head, last, f"{body}.pooler", f"{body}.encoder", f"{body}.final_norm"))
        ]
    if host.checked.halves == "shared" and swap.part in ("attn", "mlp"):
        return _with_shared_norm(host, donor, model, swap)
    state = {name: weights[name] if _inside(name, taken) else value for name, value in own.items()}
    if swap.part == "embed":  # a tied head keeps the host's matrix
        output = model.get_output_embeddings()
        if output is not None:
            output.weight = nn.Parameter(output.weight.detach().clone())
            state = {name: value for name, value in state.items() if not name.startswith("lm_head.")}
    model.load_state_dict(state, strict=False)
    return model


def _inside(name: str, taken: list[str]) -> bool:
    return any(name.startswith(f"{one}.") for one in taken)


def _with_shared_norm(host: LoadedModel, donor: LoadedModel, model: Any, swap: Swap) -> Any:
    """Return the host in which the donor's half reads the donor's norm, and the other half the host's."""
    names = {id(module): name for name, module in host.model.named_modules()}
    for i in range(swap.first, swap.last + 1):
        mine, theirs = host.components.blocks[i], donor.components.blocks[i]
        half = model.get_submodule(names[id(getattr(mine, swap.part))])
        half.load_state_dict(getattr(theirs, swap.part).state_dict())
        block, seen = model.get_submodule(names[id(mine.whole)]), []
        block.register_forward_pre_hook(
            lambda _m, args, kwargs, seen=seen: seen.append(args[0] if args else kwargs["hidden_states"]),
            with_kwargs=True,
        )
        half.register_forward_pre_hook(partial(_normed_by, theirs.ln1, seen), with_kwargs=True)
    return model


def _normed_by(norm: Any, seen: list[Tensor], _module: nn.Module, args: Any, kwargs: Any) -> Any:
    x = norm(seen[-1])
    return ((x, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": x})


def _steering(host: LoadedModel, _donor: LoadedModel, prompts: Prompts) -> float:
    width = host.model.config.hidden_size
    generator = np.random.default_rng(1)
    plan = [
        SteeringVectors((layer,), generator.normal(size=(1, width)).astype(np.float32), positions=positions)
        for layer in (0, 2, len(host.components.blocks))
        for positions in ("readout", "all")
    ]
    found = steered(host, plan, prompts, silent)
    worst = 0.0
    for vectors, logits in zip(plan, found, strict=True):
        with _added(host, prompts, vectors) as at:
            expected = []
            for ids in prompts.token_ids:
                at["place"] = _place(prompts, ids)
                one = Prompts("one", (ids,), np.array([0]), prompts.label_tokens, np.zeros(1, bool), prompts.readout)
                expected.append(_plain(host, one)[1][0])
        worst = max(worst, _error(logits, expected))
    return worst


@contextmanager
def _added(host: LoadedModel, prompts: Prompts, vectors: SteeringVectors) -> Iterator[dict[str, int]]:
    blocks, layer, at = host.components.blocks, vectors.layers[0], {"place": 0}
    vector = torch.from_numpy(np.array(vectors.vectors[0]))

    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, slice(None) if vectors.positions == "all" else at["place"]] += vector
        return x

    def entering(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": change(kwargs["hidden_states"])}

    def leaving(_module: nn.Module, _args: Any, out: Any) -> Any:
        return type(out)((change(out[0]), *out[1:])) if isinstance(out, tuple | list) else change(out)

    if layer < len(blocks):
        hook = blocks[layer].whole.register_forward_pre_hook(entering, with_kwargs=True)
    else:
        hook = blocks[-1].whole.register_forward_hook(leaving)
    try:
        yield at
    finally:
        hook.remove()


def _patching(host: LoadedModel, donor: LoadedModel, prompts: Prompts) -> float:
    found = patch(host, donor, prompts, silent).logits
    ids = prompts.token_ids[0]
    one = Prompts("one", (ids,), np.array([0]), prompts.label_tokens, np.zeros(1, bool), prompts.readout)
    states: list[Tensor] = []
    with ExitStack() as hooks, torch.no_grad():
        for block in donor.components.blocks:
            hooks.callback(block.whole.register_forward_pre_hook(_entering(states), with_kwargs=True).remove)
        donor.model(input_ids=torch.tensor([ids]), **_uncached(donor))
    worst = 0.0
    for layer in (0, 1, len(states) - 1):
        for token in (0, 4, len(ids) - 1):
            with _replaced(host, layer, token, states[layer][0, token]):
                worst = max(worst, _error(found[layer, token], _plain(host, one)[1][0]))
    return worst


@contextmanager
def _replaced(host: LoadedModel, layer: int, token: int, state: Tensor) -> Iterator[None]:
    def entering(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        x = (args[0] if args else kwargs["hidden_states"]).clone()
        x[:, token] = state
        return ((x, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": x})

    hook = host.components.blocks[layer].whole.register_forward_pre_hook(entering, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def _attribution(host: LoadedModel, _donor: LoadedModel, prompts: Prompts) -> float:
    """Contributions must add up to the logits, and a head's must be what the last residual loses without it."""
    if host.components.family.kind == "encoder":
        raise CheckpointError("An encoder's head is no sum.")
    found = contributions(host, prompts, silent)
    residuals, logits = _plain(host, prompts)
    total = found.embed + found.heads.sum((1, 2)) + found.attn_bias.sum(1) + found.mlps.sum(1) + found.norm_bias
    error = _error(total, logits)
    dead = int(np.argmax(np.abs(found.heads[0, -1]).sum(-1)))
    return max(error, _head_error(host, prompts, found.heads[0, -1, dead], dead, residuals[0, -1]))


@torch.no_grad()
def _head_error(host: LoadedModel, prompts: Prompts, ours: np.ndarray, head: int, last: np.ndarray) -> float:
    """Take a head of the last block out of the last residual, and hold the final norm's scale fixed."""
    output: Any = host.components.blocks[-1].o
    heads = int(host.model.config.num_attention_heads)
    mixed: list[Tensor] = []
    hook = output.register_forward_pre_hook(lambda _m, args: mixed.append(args[0][0, -1]))
    host.model(input_ids=torch.tensor([prompts.token_ids[0]]), use_cache=False)
    hook.remove()
    alone = torch.zeros_like(mixed[0]).reshape(heads, -1)
    alone[head] = mixed[0].reshape(heads, -1)[head]
    written = (output(alone.flatten()) - output(torch.zeros_like(mixed[0]))) * host.components.multiplier
    x, step = torch.from_numpy(last).double(), 1.0
    norm = copy.deepcopy(host.components.ln_final).double()
    read: Any = copy.deepcopy(host.components.unembed).double()
    y = x + step * written.double()
    ratio = _scale(norm, y, x)
    moved = norm(y) * ratio - norm(x) * 1
    bias = getattr(norm, "bias", None)
    moved = moved - (0 if bias is None else bias * (ratio - 1))
    change = nn.functional.linear(moved, read.weight)[list(prompts.label_tokens)] / step
    scale = float(host.components.transform(torch.ones(1)))
    return _error(ours, change.numpy() * scale)


def _scale(norm: nn.Module, y: Tensor, x: Tensor) -> float:
    """Return the divisor of one residual over that of another, from a residual that both are compared on."""
    centred = isinstance(norm, nn.LayerNorm) or (
        "LayerNorm" in type(norm).__name__ and "RMS" not in type(norm).__name__
    )

    def size(z: Tensor) -> float:
        eps = next((getattr(norm, name) for name in ("eps", "variance_epsilon") if hasattr(norm, name)), 0.0)
        return float((z.var(unbiased=False) if centred else z.square().mean()) + eps) ** 0.5

    return size(y) / size(x)
