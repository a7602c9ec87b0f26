"""Load a checkpoint's tokenizer as transformers does, and keep it as the JSON of a `tokenizers` tokenizer.

Settings in other files than tokenizer.json change a tokenizer (a BOS token, case, accents, special tokens), and only
transformers knows which of them count. It loads each tokenizer once. The result is cached by the files' content, and
later read without transformers or torch.
"""

from __future__ import annotations

import hashlib
import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import Tokenizer

from backend.caching.cache import Cache
from backend.errors import CheckpointError
from backend.models.files.configs import OF_A_RUN
from backend.models.files.fingerprint import digest
from backend.models.files.locate import CHAT_TEMPLATES, CONFIG, TOKENIZER_FILES, VOCABULARIES, Located, read_json
from backend.models.importing import importing, version
from backend.study.chat import ChatTemplate

_OF_CONFIG = ("model_type", "tokenizer_class")
"""What transformers reads of config.json to choose the class of a tokenizer."""
_USUAL = (None, True, False, "float64", "float32", "float16", "bfloat16", "auto", "eager", "sdpa", "flash_attention_2")
"""Values of a run's settings that transformers reads."""
_TOKEN_TYPES = "token_type_ids"


def has_tokenizer(located: Located) -> bool:
    """Return whether the checkpoint has its own tokenizer."""
    return bool(located.present(VOCABULARIES))


def tokenizer_digest(located: Located, cache: Cache) -> str:
    """Return 64 hex digits of everything that affects the tokenizer; equal digests mean equal tokenizers.

    Raises CheckpointError when there is no tokenizer.
    """
    if not has_tokenizer(located):
        raise CheckpointError(f"{located.folder} has no tokenizer; save one there with tokenizer.save_pretrained.")
    content: list[object] = [[file.name, digest(file, cache)] for file in located.present(TOKENIZER_FILES)]
    content += [version("transformers"), *_named_by_config(located)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_tokenizer(located: Located, cache: Cache, base: Located | None = None) -> Tokenizer:
    """Return the tokenizer without the padding and truncation settings of a training run.

    If an adapter's folder has no config.json, the one of its `base` gives the kind of tokenizer. Raises CheckpointError
    when the tokenizer is missing or cannot be read.
    """
    found = _remembered(located, cache, base)
    tokenizer = Tokenizer.from_str(found["tokenizer"])
    tokenizer.encode_special_tokens = found["splits"]  # the one setting that tokenizer.json does not hold
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def sets_token_types(located: Located, cache: Cache, base: Located | None = None) -> bool:
    """Whether transformers hands the token types that the tokenizer sets on to the model. Raises CheckpointError."""
    return _TOKEN_TYPES in _remembered(located, cache, base)["inputs"]


def read_chat_template(located: Located, cache: Cache, base: Located | None = None) -> ChatTemplate | None:
    """Return the chat template that transformers finds, or that of chat_template.json; None without one.

    Raises CheckpointError when the tokenizer cannot be read, or names several templates and none of them "default".
    """
    files = [[file.name, digest(file, cache)] for file in located.present(CHAT_TEMPLATES)]
    content = json.dumps([tokenizer_digest(located, cache), files])
    key = "chat/1/" + hashlib.sha256(content.encode()).hexdigest()
    found = cache.get_json(key)
    if not isinstance(found, dict):
        found = _chat_loaded(located, base)
        cache.put_json(key, found)
    source = found["source"]
    if isinstance(source, dict):
        if "default" not in source:
            raise CheckpointError(
                f"The tokenizer in {located.folder} has chat templates named {', '.join(map(str, source))} and none "
                f'named "default"; name one of them "default".'
            )
        source = source["default"]
    return ChatTemplate(source, tuple(map(tuple, found["tokens"]))) if source else None


def _chat_loaded(located: Located, base: Located | None) -> dict[str, Any]:
    """The chat template or templates, and the special tokens by name."""
    made = _made(located, base)
    source, (_, other) = made.chat_template, (located.folder / name for name in CHAT_TEMPLATES)
    if not source and other.is_file():
        source = read_json(other).get("chat_template")
    return {"source": source, "tokens": [[name, str(token)] for name, token in made.special_tokens_map.items()]}


def _remembered(located: Located, cache: Cache, base: Located | None) -> dict[str, Any]:
    """The text of the tokenizer, the names of the inputs that it makes, and whether it splits special tokens."""
    key = "tokenizer/3/" + tokenizer_digest(located, cache)
    found = cache.get_json(key)
    if not isinstance(found, dict):
        found = _loaded(located, base)
        cache.put_json(key, found)
    return found


def _named_by_config(located: Located) -> list[object]:
    file = located.folder / CONFIG
    config = read_json(file) if file.is_file() else {}
    return [config.get(key) for key in _OF_CONFIG]


def _loaded(located: Located, base: Located | None) -> dict[str, Any]:
    """What transformers makes of the files."""
    made = _made(located, base)
    return {
        "tokenizer": made.backend_tokenizer.to_str(),
        "inputs": list(made.model_input_names),
        "splits": bool(made.split_special_tokens),
    }


def _made(located: Located, base: Located | None) -> Any:
    """The tokenizer of transformers. Raises CheckpointError."""
    with importing():
        from transformers import AutoConfig, AutoTokenizer  # slow to import, and only for files not seen before

        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            if base is not None and not (located.folder / CONFIG).is_file():
                options["config"] = AutoConfig.from_pretrained(base.folder, **options)
            with _readable(located) as folder:
                made = AutoTokenizer.from_pretrained(folder, **options)
                made.backend_tokenizer.to_str()
                return made
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError) as error:
            raise _unusable(located, error) from None


@contextmanager
def _readable(located: Located) -> Iterator[Path]:
    """Yield the folder, or a copy of its small files without what transformers refuses.

    That is a byte order mark, and a setting of the run that saved the config, such as dtype = "torch.bfloat16".
    """
    content = {file.name: file.read_bytes() for file in located.present((CONFIG, *TOKENIZER_FILES, CHAT_TEMPLATES[0]))}
    config = read_json(located.folder / CONFIG) if CONFIG in content else {}
    settings = {key for key in OF_A_RUN & config.keys() if key == "use_return_dict" or config[key] not in _USUAL}
    if not settings and not any(data.startswith(BOM_UTF8) for data in content.values()):
        yield located.folder
        return
    if settings:
        content[CONFIG] = json.dumps({key: value for key, value in config.items() if key not in settings}).encode()
    with TemporaryDirectory() as place:
        for name, data in content.items():
            (Path(place) / name).write_bytes(data.removeprefix(BOM_UTF8))
        yield Path(place)


def _unusable(located: Located, error: Exception) -> CheckpointError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return CheckpointError(
        f"The tokenizer in {located.folder} cannot be read ({reason}); save it again with tokenizer.save_pretrained."
    )
