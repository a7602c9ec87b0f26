"""Running a host with parts of a donor, all swaps of a plan in one go and neither model touched.

A swap runs on the host up to its first block, on the donor's parts from there to its last, then on the host again. What
swaps have in common runs once: the host's own run up to the first blocks, and the donor's run from each first block, of
which a branch leaves at every last block. At a block, all branches that have left run together, in chunks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from backend.caching.progress import Progress, unwatched
from backend.errors import CheckpointError
from backend.lab.outputs import Swap, Swapped
from backend.models.measurements.host_and_donor import BlockMeter, check_pair
from backend.models.measurements.logit_lens import label_logits
from backend.models.runtime.batching import BATCH_TOKENS, halved, make_batches
from backend.models.runtime.blocks import attend, embed, proceed, surroundings
from backend.models.runtime.devices import free_bytes, is_out_of_memory
from backend.models.runtime.forward import pad
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Columns, Prompts
from backend.study.whole_words import Words, expand

AT_ONCE = BATCH_TOKENS | {"cpu": 1024}
"""Tokens that pass a block together."""
BRANCHES = 4
"""Branches of one batch of prompts that pass together: batches can be so much smaller, and pad so much less."""
HELD_SHARE = 0.25
"""Share of the free memory that the residuals of branches may take; what does not fit runs in a later wave."""
Stem = tuple[str, int]
"""A run inside the donor's parts: which part, from which block."""


@dataclass(frozen=True)
class Limits:
    """At most `tokens` tokens pass a block together, those of several branches of one batch of at most `rows` prompts.

    Branches hold at most `held_bytes` of residuals. None is what the device has room for.
    """

    tokens: int | None = None
    rows: int | None = None
    held_bytes: int | None = None


@dataclass(frozen=True)
class Stage:
    """One block of a wave: which runs pass it. `stems` are on donor's parts, `live` swaps are on the host again.

    `begins` says that stems of this block start from the trunk, the host's own run, which passes the block if `trunk`.
    """

    block: int
    begins: tuple[Stem, ...]
    stems: tuple[Stem, ...]
    trunk: bool
    live: tuple[Swap, ...]
    leaving: tuple[Swap, ...]

    @property
    def runs(self) -> int:
        """How many runs pass this block."""
        return len(self.stems) + self.trunk + len(self.live)


def stages(wave: Sequence[Swap], start: int, layers: int) -> list[Stage]:
    """The blocks from `start`, where the trunk stands, to the last, for the swaps of one wave."""
    found = []
    for block in range(start, layers):
        stems = sorted({(one.part, one.first) for one in wave if one.first <= block <= one.last})
        found.append(
            Stage(
                block,
                begins=tuple(stem for stem in stems if stem[1] == block),
                stems=tuple(stems),
                trunk=any(one.first > block for one in wave),
                live=tuple(one for one in wave if one.last < block),
                leaving=tuple(one for one in wave if one.last == block),
            )
        )
    return found


def waves(plan: Sequence[Swap], held: int) -> Iterator[tuple[int, list[Swap]]]:
    """The plan in waves of at most `held` swaps, each with the block at which its trunk starts.

    Sorted by first block, so that the trunk never goes back; a wave leaves it at its last first block.
    """
    ordered = sorted(set(plan), key=lambda one: (one.first, one.part, one.last))
    start = 0
    for i in range(0, len(ordered), held):
        wave = ordered[i : i + held]
        yield start, wave
        start = wave[-1].first


def block_runs(plan: Sequence[Swap], layers: int, held: int) -> int:
    """How many times a prompt passes a block in all."""
    return sum(stage.runs for start, wave in waves(plan, held) for stage in stages(wave, start, layers))


def run_swaps(
    host: LoadedModel,
    donor: LoadedModel,
    plan: Sequence[Swap],
    prompts: Prompts,
    progress: Progress,
    watch: Callable[[Swapped], None] = unwatched,
    limits: Limits = Limits(),
) -> Float32[np.ndarray, "swaps reviews classes"]:
    """Label logits of the host with each swap of the plan, read by the host's own final norm and head.

    Raises CheckpointError for models that are no pair, a swap of blocks that there are not, or values that are not
    finite, DeviceError when one prompt alone does not fit. `progress` is told before every step of a block, and `watch`
    is shown every batch that is done.
    """
    _check(host, donor, plan)
    words = expand(prompts)
    prompts, watch = words.prompts, _by_prompt(words, watch)
    at_once = limits.tokens or AT_ONCE[host.device.type]
    lengths = [len(ids) for ids in prompts.token_ids]
    waiting = deque(make_batches(lengths, at_once // BRANCHES, limits.rows))
    size = max(at_once // BRANCHES, *lengths) * host.model.config.hidden_size * host.model.dtype.itemsize
    room = limits.held_bytes or int(free_bytes(host.device) * HELD_SHARE)
    held = max(1, room // size)
    meter = BlockMeter(block_runs(plan, len(host.components.blocks), held) * len(lengths), "Swapping", progress)
    logits = np.empty((len(plan), len(lengths), prompts.classes), np.float32)
    while waiting and plan:
        batch, before = waiting.popleft(), meter.done
        try:
            running = _Batch(host, donor, prompts.some(batch), at_once, meter)
            found = running.read(plan, held, prompts.columns)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            found = None
        if found is None:  # out here, where the error no longer keeps the tensors of the attempt
            meter.done = before
            if len(batch) == 1 and (held > 1 or at_once > lengths[batch[0]]):
                at_once, held = at_once // 2, max(1, held // 2)  # fewer branches at a time
                waiting.appendleft(batch)
            else:
                waiting.extendleft(reversed(halved(batch, host.device)))
            continue
        for row, one in enumerate(plan):
            logits[row, batch] = found[one]
        watch(Swapped(tuple(batch), logits[:, batch]))
    if not np.isfinite(logits).all():
        dtype = str(host.model.dtype).removeprefix("torch.")
        raise CheckpointError(
            f"{host.model.config.name_or_path} with parts of {donor.model.config.name_or_path} gives values that are "
            f'not finite in {dtype}; set dtype = "float32", or save the weights again.'
        )
    found = words.combine_rows(logits)
    found.setflags(write=False)
    return found


def _by_prompt(words: Words, watch: Callable[[Swapped], None]) -> Callable[[Swapped], None]:
    """Shows `watch` each prompt once all of its rows are done."""
    waiting: dict[int, dict[int, np.ndarray]] = {}

    def gather(batch: Swapped) -> None:
        for at, row in enumerate(batch.prompts):
            waiting.setdefault(row // words.positions, {})[row % words.positions] = batch.logits[:, at]
        done = [prompt for prompt, rows in waiting.items() if len(rows) == words.positions]
        if done:
            rows = [waiting.pop(prompt) for prompt in done]
            stacked = np.stack([np.stack([one[at] for one in rows], axis=1) for at in range(words.positions)])
            watch(Swapped(tuple(done), words.combine(stacked)))

    return watch if words.positions == 1 else gather


class _Batch:
    """The swaps of a plan over one padded batch of prompts."""

    def __init__(self, host: LoadedModel, donor: LoadedModel, batch: Prompts, tokens: int, meter: BlockMeter) -> None:
        self.host, self.donor, self.meter = host, donor, meter
        self.ids, self.readout, inputs = pad(batch.token_ids, batch.readout, host, batch.token_types)
        self.real, self.types = inputs.get("attention_mask"), inputs.get("token_type_ids")
        self.together = max(1, tokens // self.ids.numel())
        self.last_block = len(host.components.blocks) - 1

    @torch.inference_mode()
    def read(
        self, plan: Sequence[Swap], held: int, columns: Columns
    ) -> dict[Swap, Float32[np.ndarray, "batch columns"]]:
        """Label logits of each swap; here tensors become float32 arrays on the CPU."""
        trunk = embed(self.host, self.ids, self.types)
        self.around = surroundings(self.host, trunk, self.real)
        found: dict[Swap, np.ndarray] = {}
        for start, wave in waves(plan, held):
            trunk, ends = self._wave(wave, start, trunk)
            last = torch.stack([one[:, 0].to("cpu", torch.float32) for one in ends]).numpy()
            found |= zip(wave, label_logits(last, columns, self.host, self.host), strict=True)
        return found

    def _wave(self, wave: Sequence[Swap], start: int, trunk: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The trunk where it stands in the end, and what each swap of the wave gives the final norm."""
        stems: dict[Stem, Tensor] = {}
        live = {one: embed(self.donor, self.ids, self.types).to(trunk.device) for one in wave if one.part == "embed"}
        for stage in stages(wave, start, self.last_block + 1):
            stems |= dict.fromkeys(stage.begins, trunk)
            stems = {stem: stems[stem] for stem in stage.stems}
            for part in dict.fromkeys(part for part, _ in stage.stems):
                own = [stem for stem in stage.stems if stem[0] == part]
                attends, proceeds = (self.donor if part in (half, "block") else self.host for half in ("attn", "mlp"))
                passed = self._pass(stage.block, [stems[stem] for stem in own], attends, proceeds)
                stems |= zip(own, passed, strict=True)
            on_host = [*([trunk] if stage.trunk else []), *(live[one] for one in stage.live)]
            passed = self._pass(stage.block, on_host, self.host, self.host)
            if stage.trunk:
                trunk = passed.pop(0)
            live = dict(zip(stage.live, passed, strict=True))
            live |= {one: stems[one.part, one.first] for one in stage.leaving}
        return trunk, [live[one] for one in wave]

    def _pass(self, block: int, runs: Sequence[Tensor], attends: LoadedModel, proceeds: LoadedModel) -> list[Tensor]:
        """Each run after the block; after the last block only the readout position, the one that is read."""
        found: list[Tensor] = []
        rows = len(self.ids)
        for i in range(0, len(runs), self.together):
            chunk = [run.to(runs[0].device) for run in runs[i : i + self.together]]
            self.meter.step(len(chunk) * rows)
            x = attend(attends, block, torch.cat(chunk) if len(chunk) > 1 else chunk[0], self.around)
            if block == self.last_block:  # the second half of a block looks at no other position
                every = torch.arange(len(x), device=x.device)
                x = x[every, self.readout.repeat(len(chunk)).to(x.device), None]
            found += proceed(proceeds, block, x).split(rows)
        return found


def _check(host: LoadedModel, donor: LoadedModel, plan: Sequence[Swap]) -> None:
    """Raise CheckpointError for what cannot be swapped."""
    check_pair(host, donor)
    name, layers = host.model.config.name_or_path, len(host.components.blocks)
    wrong = [one for one in plan if one.part != "embed" and not 0 <= one.first <= one.last < layers]
    if wrong:
        raise CheckpointError(f"{wrong[0]} cannot be swapped: the blocks of {name} are 0 to {layers - 1}.")
