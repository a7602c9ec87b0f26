"""The exceptions of Layershift. Each message says in one sentence what is wrong, where, and what to do.

LayershiftError               an error that the user can fix (exit code 2, a box on the page, no traceback)
├── StudyError                study.toml: names the file, the key and what was expected
├── DatasetError              labelled texts: missing file or column, one class, too few rows
├── PromptError               template, label words, tokens
├── CheckpointError           weights: missing, truncated, another architecture or vocabulary
├── AutoencoderError          a sparse autoencoder: its file, or the activations it reads
├── DeviceError               the requested device is missing or has too little memory
├── CacheError                the cache folder cannot be used
├── ClusterError              a Ray cluster that does not answer, or loses its machines
├── BusyError                 more jobs than the server takes, or a job beyond its time
├── UndefinedError            a quantity that is undefined for this study
├── UnsupportedError          both of CheckpointError and UndefinedError: what a model's architecture does not allow
└── Cancelled                 the user pressed cancel
"""


class LayershiftError(Exception):
    """Base class of all errors that the user can fix."""


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
    """A device that is missing or has too little memory."""


class CacheError(LayershiftError):
    """A cache folder that cannot be used."""


class ClusterError(LayershiftError):
    """A cluster that cannot be used."""


class BusyError(LayershiftError):
    """More jobs than the server takes, or a job that works longer than it may."""


class UndefinedError(LayershiftError):
    """A quantity that is undefined for this study."""


class UnsupportedError(CheckpointError, UndefinedError):
    """A quantity that a model's architecture does not allow; everything else can be computed."""


class Cancelled(LayershiftError):
    """Work that the user cancelled."""
