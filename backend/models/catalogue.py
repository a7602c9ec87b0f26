"""Read fingerprints, sizes and tokenizers of checkpoints from their files, and check that two are comparable."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator

from tokenizers import Tokenizer

from backend.caching.cache import Cache
from backend.errors import CheckpointError, PromptError, UnsupportedError
from backend.models.files.adapter_base import doubts
from backend.models.files.adapters import adapter_facts, read_adapter
from backend.models.files.compatibility import compare_facts, compare_tokens, other_settings
from backend.models.files.configs import leftover_quantization, read_config
from backend.models.files.facts import most_positions, padding, read_facts, steady_positions
from backend.models.files.fingerprint import fingerprint, weights_digest
from backend.models.files.locate import CONFIG, Located, locate
from backend.models.files.settled import State, settled
from backend.models.files.tokenizer import (
    has_tokenizer,
    read_chat_template,
    read_tokenizer,
    sets_token_types,
    tokenizer_digest,
)
from backend.models.importing import importing, version
from backend.study.chat import ChatTemplate
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.config import CheckpointRef
from backend.study.facts import Facts
from backend.study.token_ids import Prompts

_HELD_TOKENIZERS = 8


class Catalogue:
    """Checkpoints as files, on this machine or downloaded from the hub. Needs no torch for files seen before."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._tokenizers: dict[str, Tokenizer] = {}
        self._tokenizing = threading.Lock()

    @property
    def cache(self) -> Cache:
        """The cache of small facts about checkpoints and devices."""
        return self._cache

    def fingerprint(self, ref: CheckpointRef, base: CheckpointRef) -> str:
        """Return the digest of weights, config and tokenizer, and of an adapter's base. Raises CheckpointError."""
        located = locate(ref)
        below = fingerprint(_full(base), None, self._cache) if located.adapter else None
        return fingerprint(located, below, self._cache)

    def state(self, ref: CheckpointRef) -> tuple[Located, State] | None:
        """Return the state of every file that the checkpoint is read from; None just after one was written.

        Raises CheckpointError if it has none.
        """
        located = locate(ref)
        folders = dict.fromkeys((located.folder, located.tokenizing.folder))
        state = settled(file for folder in folders for file in sorted(folder.iterdir()) if file.is_file())
        return None if state is None else (located, state)

    def facts(self, ref: CheckpointRef, base: CheckpointRef) -> Facts:
        """Return architecture and sizes; for an adapter those of the merged model. Raises CheckpointError."""
        located = locate(ref)
        if located.adapter:
            return adapter_facts(located, _full(base), base.place)
        return read_facts(located, ref.place)

    def tokenizer(self, ref: CheckpointRef, base: CheckpointRef) -> Tokenizer:
        """Return the checkpoint's tokenizer, or its base's if it has none: one object for equal files.

        The newest stay in memory, because reading a large vocabulary takes most of a second. Raises CheckpointError.
        """
        located, below = _tokenizing(ref, base)
        content = tokenizer_digest(located, self._cache)
        with self._tokenizing:
            if content not in self._tokenizers:
                tokenizer = read_tokenizer(located, self._cache, below)
                if len(self._tokenizers) >= _HELD_TOKENIZERS:
                    del self._tokenizers[next(iter(self._tokenizers))]
                self._tokenizers[content] = tokenizer
            return self._tokenizers[content]

    def chat_template(self, ref: CheckpointRef, base: CheckpointRef) -> ChatTemplate | None:
        """Return the chat template of the checkpoint's tokenizer, None without one. Raises CheckpointError."""
        located, below = _tokenizing(ref, base)
        return read_chat_template(located, self._cache, below)

    def sets_token_types(self, ref: CheckpointRef, base: CheckpointRef) -> bool:
        """Whether the token types of the tokenizer are given to the model. Raises CheckpointError."""
        located, below = _tokenizing(ref, base)
        return sets_token_types(located, self._cache, below)

    def check(self, ref: CheckpointRef, base: CheckpointRef) -> None:
        """Raise CheckpointError unless the checkpoint can be opened and compared with the base.

        The result is cached, so torch is imported once for every content and version of transformers.
        """
        located = locate(ref)
        if not located.adapter:
            self._check_structure(located, self.facts(ref, base).architecture)
        pair = f"comparable/2/{self.fingerprint(ref, base)}/{self.fingerprint(base, base)}"
        if self._cache.get_json(pair):
            return
        compare_facts(self.facts(ref, base), self.facts(base, base), ref.place)
        compare_tokens(self.tokenizer(ref, base), self.tokenizer(base, base), ref.place)
        located = locate(ref)
        if located.adapter:
            check_adapter(located, _full(base), self.fingerprint(ref, base), self._cache)
        self._cache.put_json(pair, True)

    def _check_structure(self, located: Located, architecture: str) -> tuple[float, str]:
        """Return the largest weight and its tensor, once shapes and values are checked. Raises CheckpointError."""
        content = [version("transformers"), architecture, fingerprint(located, None, self._cache)]
        key = "opens/2/" + hashlib.sha256(json.dumps(content).encode()).hexdigest()
        known = self._cache.get_json(key)
        if isinstance(known, list):
            return float(known[0]), str(known[1])
        failed = f"{key}/{located.folder}"  # the error names the folder
        error_text = self._cache.get_json(failed)
        if error_text is None:
            with importing():  # torch, only where the answer is not known
                from backend.models.runtime.structure import check_structure
                from backend.models.runtime.weight_values import check_model

            try:
                with importing():
                    check_structure(located, architecture)
                largest = check_model(located, architecture)
            except CheckpointError as error:
                error_text = str(error)
                self._cache.put_json(failed, error_text)
            else:
                self._cache.put_json(key, [largest.value, largest.name])
                return largest.value, largest.name
        raise CheckpointError(str(error_text))

    def largest_weight(self, ref: CheckpointRef, base: CheckpointRef) -> tuple[float, str]:
        """Return the largest absolute value in the checkpoint's own files, and its tensor. Raises CheckpointError."""
        located = locate(ref)
        if not located.adapter:
            return self._check_structure(located, self.facts(ref, base).architecture)
        key = f"largest/{weights_digest(located, self._cache)}"
        known = self._cache.get_json(key)
        if not isinstance(known, list):
            with importing():
                from backend.models.runtime.weight_values import check_values

            found = check_values(located)
            known = [found.value, found.name]
            self._cache.put_json(key, known)
        return float(known[0]), str(known[1])

    def warnings(self, ref: CheckpointRef, base: CheckpointRef) -> tuple[str, ...]:
        """Return warnings about the checkpoint's files, one sentence each. Raises CheckpointError."""
        located = locate(ref)
        if located.adapter:
            return doubts(located, ref.place, base, _full(base), self._cache)
        settings = read_config(located, ref.place), read_config(_full(base), base.place)
        changed = other_settings(*settings, ref.place)
        return (*_file_warnings(located, ref.place), *([changed] if changed else []))

    def weights_digest(self, ref: CheckpointRef, base: CheckpointRef) -> str:
        """Return the digest of the weights alone, with an adapter's config and base. Raises CheckpointError."""
        located = locate(ref)
        if not located.adapter:
            return weights_digest(located, self._cache)
        return weights_digest(located, self._cache) + weights_digest(_full(base), self._cache)

    def check_prompts(self, checkpoint: PinnedCheckpoint, prompts: Prompts) -> None:
        """Raise CheckpointError or PromptError for prompts that the checkpoint cannot read.

        On a GPU an id or position out of range kills the whole process, so it is checked here.
        """
        facts = checkpoint.facts
        if prompts.asks and facts.answers is not None and facts.answers != prompts.classes:
            raise CheckpointError(
                f"{checkpoint.ref.place} has a head of {facts.answers} classes and the study has {prompts.classes} "
                f"label words; give one word per class of the head."
            )
        words = [token for word in prompts.continuations for token in word] if facts.predicts else []
        largest = max(max(map(max, prompts.token_ids), default=0), *words, 0)
        if largest >= facts.vocabulary:
            raise CheckpointError(
                f"{checkpoint.ref.place} has {facts.vocabulary} tokens and the prompts use token {largest}; "
                f"name a checkpoint with at least the base's vocabulary."
            )
        read = max(
            (*map(max, prompts.token_ids), *(token for rest in prompts.continuations for token in rest[:-1])), default=0
        )
        if facts.readable is not None and read >= facts.readable:
            raise UnsupportedError(
                f"{checkpoint.ref.place} has per-layer embeddings for {facts.readable} of {facts.vocabulary} tokens, "
                f"so transformers cannot run texts with token {read}; leave them out, or enlarge both with "
                f"resize_token_embeddings and save it again."
            )
        located = locate(checkpoint.ref)
        body = _full(checkpoint.base) if located.adapter else located
        positions = most_positions(body)
        if facts.kind == "causal" and facts.answers is not None:
            _check_ends(padding(body), prompts, checkpoint.ref.place)
        if prompts.readout == "generated" and not facts.predicts:
            raise PromptError(
                f'{checkpoint.ref.place} predicts no tokens, so prompt.position = "generated" is undefined; choose '
                f'"last", "text_end" or "text_mean".'
            )
        added = max(map(len, prompts.following), default=int(prompts.readout == "generated"))
        longest = int(prompts.lengths.max(initial=0)) + added
        steady = steady_positions(body)
        if steady is not None and longest > steady:
            raise PromptError(
                f"A prompt has {longest} tokens, and beyond {steady} the rotary angles of {checkpoint.ref.place} "
                f"depend on the longest prompt of the batch; lower prompt.max_tokens to at most "
                f"{steady - added}."
            )
        if positions is not None and longest > positions:
            raise PromptError(
                f"A prompt has {longest} tokens and {checkpoint.ref.place} has {positions} positions; lower "
                f"prompt.max_tokens to at most {positions - added}."
            )


def _file_warnings(located: Located, place: str) -> Iterator[str]:
    """Yield a sentence for each thing in a full checkpoint's files that is not read."""
    key = leftover_quantization(located)
    if key is not None:
        yield f"{place} has plain weights and a {key} in {CONFIG}, which is ignored; remove it there."
    index = located.folder / "model.safetensors.index.json"
    if [file.name for file in located.weights] == ["model.safetensors"] and index.is_file():
        yield (
            f"{place} holds the weights whole and in parts; model.safetensors is read, as transformers does, and not "
            f"the files of {index.name}; remove those that are older."
        )


def _check_ends(pad: int | None, prompts: Prompts, place: str) -> None:
    """Raise PromptError if a prompt ends with padding: transformers would read the classifier at an earlier token."""
    ending = next((i for i, ids in enumerate(prompts.token_ids) if ids[-1] == pad), None)
    if ending is not None:
        raise PromptError(
            f"Prompt {ending + 1} ends with token {pad}, the padding token of {place}, so transformers reads its "
            f"answer at an earlier token; end prompt.template with another token, or remove pad_token_id from its "
            f"config.json."
        )


def _tokenizing(ref: CheckpointRef, base: CheckpointRef) -> tuple[Located, Located]:
    """The files of the checkpoint's tokenizer, and its base's files."""
    located, below = locate(ref).tokenizing, _full(base)
    return (located if has_tokenizer(located) else below), below


def _full(base: CheckpointRef) -> Located:
    """Return the base's files. Raises CheckpointError if the base is an adapter."""
    located = locate(base)
    if located.adapter:
        raise CheckpointError(f"{base.place} is an adapter; the base of a study must be a whole model.")
    return located


def check_adapter(located: Located, base: Located, fingerprint: str, cache: Cache) -> None:
    """Raise the CheckpointError that opening the adapter would raise; the result is cached by fingerprint."""
    versions = "-".join(version(name) for name in ("peft", "transformers"))
    folder = hashlib.sha256(str(located.folder).encode()).hexdigest()[:12]
    key = f"adapter/2/{fingerprint}/{folder}/{versions}"
    verdict = cache.get_json(key)
    if not isinstance(verdict, str):
        with importing():
            from backend.models.runtime.merge_adapter import verdict_on

        verdict = verdict_on(read_adapter(located, base), base)
        cache.put_json(key, verdict)
    if verdict:
        raise CheckpointError(verdict)
