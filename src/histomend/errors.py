"""What can go wrong, as one tree.

::

    HistomendError                      exit code 2, shown without a traceback
    ├── InputError                      something the user handed in
    │   ├── UnreadableImageError        truncated, empty, not an image, wrong extension
    │   ├── UnsupportedImageError       an image, but not of a kind that can be restored
    │   ├── ImageSizeError              too small, too large, a decompression bomb
    │   ├── ValueRangeError             NaN, infinite, or of unknown range
    │   ├── MaskError                   other size, empty, everything masked
    │   ├── PixelSizeError              micrometres per pixel missing or impossible
    │   ├── RegionError                 outside the image, malformed
    │   ├── SettingError                an option that does not exist or does not fit
    │   └── LedgerError                 a ledger that is damaged or belongs to another image
    ├── ModelError                      something about weights
    │   ├── ModelNotFoundError          no bundled model, no folder and none on the hub of that name
    │   │   └── HubError                the hub cannot be reached, and nothing is in the cache
    │   ├── WeightsError                wrong hash, damaged, missing tensors
    │   ├── UnsafeWeightsError          a pickle where safetensors are expected
    │   └── ModelMismatchError          the model does not fit the image or the method
    ├── ResourceError                   something about this machine
    │   ├── MissingDependencyError      an optional package; the message has the pip line
    │   ├── OutputError                 exists, cannot be written, disk full
    │   └── DeviceError                 the device asked for is not there
    └── JobError                        a long job that cannot go on
        ├── InUseError                  another process works on it
        └── TrainingError               no data, a diverged loss, a run that does not match

Every message says what, where (file, level, x, y), why, and what to do next.
"""

from __future__ import annotations

import re
import unicodedata


class HistomendError(Exception):
    """Root of every error that Histomend raises on purpose."""

    exit_code = 2


class InputError(HistomendError):
    """Something the user handed in cannot be used."""


class UnreadableImageError(InputError):
    """The file is truncated, empty, or not an image of the kind its name says."""


class UnsupportedImageError(InputError):
    """The file is an image, but not of a kind that can be restored."""


class ImageSizeError(InputError):
    """The image is too small, too large, or a decompression bomb."""


class ValueRangeError(InputError):
    """Pixel values are NaN, infinite, or of an unknown range."""


class MaskError(InputError):
    """The mask has another size than the image, is empty, or covers everything."""


class PixelSizeError(InputError):
    """The pixel size is missing where it is needed, or is not a possible one."""


class RegionError(InputError):
    """The region is malformed or lies outside the image."""


class SettingError(InputError):
    """An option does not exist, or does not go together with another one."""


class LedgerError(InputError):
    """The ledger is damaged, of another schema, or belongs to another image."""


class ModelError(HistomendError):
    """Something is wrong with a model."""


class ModelNotFoundError(ModelError):
    """Neither a bundled model nor a folder of weights has this name."""


class HubError(ModelNotFoundError):
    """The Hugging Face hub cannot be reached, and the model is not in the local cache."""


class WeightsError(ModelError):
    """The weights are damaged, incomplete, or not those the card describes."""


class UnsafeWeightsError(ModelError):
    """The file is a pickle, which could run code; only safetensors are opened."""


class ModelMismatchError(ModelError):
    """The model does not fit the image or the method."""


class ResourceError(HistomendError):
    """This machine lacks something."""


class MissingDependencyError(ResourceError, ImportError):
    """An optional package is not installed; the message has the pip line."""


class OutputError(ResourceError):
    """The output exists already, cannot be written, or the disk is full."""


class DeviceError(ResourceError):
    """The device that was asked for is not there."""


class JobError(HistomendError):
    """A long job cannot go on."""


class InUseError(JobError):
    """Another process works on the job."""


class TrainingError(JobError):
    """Training has no data, diverged, or was asked to resume a different run."""


def display_name(name: object) -> str:
    """Return a name, or a text with names in it, that can be written anywhere as UTF-8.

    Bytes that are not UTF-8 become U+FFFD, and control characters but line breaks and tabs their
    escapes, so that no name moves the cursor of a terminal.
    """
    text = utf8(name).decode("utf-8")
    return "".join(
        repr(char)[1:-1] if unicodedata.category(char) == "Cc" and char not in "\n\t" else char
        for char in text
    )


def utf8(text: object) -> bytes:
    """Return a text with names in it as UTF-8; bytes of a name that are none become U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", str(text)).encode("utf-8")
