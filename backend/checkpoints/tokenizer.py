"""A checkpoint's tokenizer as `tokenizers` reads it; torch only if it must be converted from an older format, once."""

from __future__ import annotations

import hashlib
import json

from tokenizers import Tokenizer

from backend.checkpoints.files import TOKENIZER, TOKENIZER_FILES, Located
from backend.checkpoints.fingerprint import digest
from backend.errors import CheckpointError
from backend.memo import Cache

_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


def has_tokenizer(located: Located) -> bool:
    """Whether the checkpoint brings a tokenizer of its own."""
    return bool(located.present(tuple(name for name in TOKENIZER_FILES if name not in _SETTINGS)))


def read_tokenizer(located: Located, cache: Cache) -> Tokenizer:
    """The tokenizer, without the padding and truncation that a training run may have left in it.

    Raises CheckpointError when there is none or it cannot be read.
    """
    file = located.folder / TOKENIZER
    if file.is_file():
        try:
            return _plain(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, AttributeError) as error:
            raise _unusable(located, error) from None
    if not has_tokenizer(located):
        raise CheckpointError(f"{located.folder} has no tokenizer; save one there with tokenizer.save_pretrained.")
    stamps = [[one.name, digest(one, cache)] for one in located.present(TOKENIZER_FILES)]
    key = "tokenizer/" + hashlib.sha256(json.dumps(stamps).encode()).hexdigest()
    text = cache.get_json(key)
    if not isinstance(text, str):
        text = _converted(located)
        cache.put_json(key, text)
    return _plain(text)


def _plain(text: str) -> Tokenizer:
    if not isinstance(json.loads(text).get("model"), dict):
        raise ValueError("it describes no model")
    tokenizer = Tokenizer.from_str(text)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _converted(located: Located) -> str:
    """tokenizer.json made from vocab.json and merges.txt, or a sentencepiece model."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(located.folder, local_files_only=True)
        return tokenizer.backend_tokenizer.to_str()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise _unusable(located, error) from None


def _unusable(located: Located, error: Exception) -> CheckpointError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return CheckpointError(
        f"The tokenizer in {located.folder} cannot be read ({reason}); save it again with tokenizer.save_pretrained."
    )
