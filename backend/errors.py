"""What can go wrong, as a small tree. The message of each is one sentence that says what to do.

LayershiftError               the user can mend it (exit code 2, a box on the page, no traceback)
├── StudyError                study.toml: names the file, the key and what was expected
├── DatasetError              the labelled texts: missing file or column, one class, too few rows
├── PromptError               template, label words, tokens
├── CheckpointError           weights: missing, truncated, of another architecture or vocabulary
├── AutoencoderError          a sparse autoencoder: its file, or what it is asked to read
├── DeviceError               the device asked for is not there, or is too small
├── CacheError                the cache folder cannot be used
├── UndefinedError            a measure that this study has no value for
└── Cancelled                 somebody pressed cancel
"""


class LayershiftError(Exception):
    """Base of everything that the user can mend."""


class StudyError(LayershiftError):
    """A study.toml that cannot be used."""


class DatasetError(LayershiftError):
    """Labelled texts that cannot be used."""


class PromptError(LayershiftError):
    """A template or label words that cannot be used with this tokenizer."""


class CheckpointError(LayershiftError):
    """Weights that cannot be used."""


class AutoencoderError(LayershiftError):
    """A sparse autoencoder that cannot be used, or trained."""


class DeviceError(LayershiftError):
    """A device that is not there or too small."""


class CacheError(LayershiftError):
    """A cache folder that cannot be used."""


class UndefinedError(LayershiftError):
    """A measure that has no value for this study."""


class Cancelled(LayershiftError):
    """The work was cancelled by somebody."""
