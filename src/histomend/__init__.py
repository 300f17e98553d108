"""Histomend finds artifacts in histology images and restores them with diffusion models.

>>> import histomend
>>> image = histomend.read_image("tissue.png")
>>> result = histomend.restore(image, mask=histomend.detect(image.pixels), seed=0)

The names below are the public ones. They are imported when first used, because PyTorch takes
seconds to import and most of them do not need it. Restored images are not for diagnosis.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histomend.damage.artifacts import KINDS, Damaged, simulate
    from histomend.denoise import DenoiseResult, denoise
    from histomend.detect.threshold import Thresholds, detect
    from histomend.errors import (
        DeviceError,
        HistomendError,
        HubError,
        ImageSizeError,
        InputError,
        JobError,
        LedgerError,
        MaskError,
        MissingDependencyError,
        ModelError,
        ModelMismatchError,
        ModelNotFoundError,
        OutputError,
        PixelSizeError,
        RegionError,
        ResourceError,
        SettingError,
        TrainingError,
        UnreadableImageError,
        UnsafeWeightsError,
        UnsupportedImageError,
        ValueRangeError,
        WeightsError,
    )
    from histomend.image import Image, read_image, write_image
    from histomend.ledger import Ledger, Verification, undo, verify
    from histomend.masks import read_mask, write_mask
    from histomend.models import load_model
    from histomend.restore import Result, restore
    from histomend.upscale import UpscaleResult, upscale

__version__ = "0.1.0"

__all__ = [
    "KINDS",
    "Damaged",
    "DenoiseResult",
    "DeviceError",
    "HistomendError",
    "HubError",
    "Image",
    "ImageSizeError",
    "InputError",
    "JobError",
    "Ledger",
    "LedgerError",
    "MaskError",
    "MissingDependencyError",
    "ModelError",
    "ModelMismatchError",
    "ModelNotFoundError",
    "OutputError",
    "PixelSizeError",
    "RegionError",
    "ResourceError",
    "Result",
    "SettingError",
    "Thresholds",
    "TrainingError",
    "UnreadableImageError",
    "UnsafeWeightsError",
    "UnsupportedImageError",
    "UpscaleResult",
    "ValueRangeError",
    "Verification",
    "WeightsError",
    "__version__",
    "denoise",
    "detect",
    "load_model",
    "read_image",
    "read_mask",
    "restore",
    "simulate",
    "undo",
    "upscale",
    "verify",
    "write_image",
    "write_mask",
]

# Where the public names live that are not errors.
_HOMES = {
    "histomend.damage.artifacts": ("KINDS", "Damaged", "simulate"),
    "histomend.denoise": ("DenoiseResult", "denoise"),
    "histomend.detect.threshold": ("Thresholds", "detect"),
    "histomend.image": ("Image", "read_image", "write_image"),
    "histomend.ledger": ("Ledger", "Verification", "undo", "verify"),
    "histomend.masks": ("read_mask", "write_mask"),
    "histomend.models": ("load_model",),
    "histomend.restore": ("Result", "restore"),
    "histomend.upscale": ("UpscaleResult", "upscale"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name from its home on first use."""
    if name not in __all__:
        raise AttributeError(f"module 'histomend' has no attribute {name!r}")
    value: object = getattr(import_module(_HOME_OF.get(name, "histomend.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keep ``histomend.restore`` the function, also once the module of that name is imported.

    The import system binds a submodule in its package; ``restore`` and ``detect`` would then be
    a function or a module, depending on what was imported before. The modules are still reached
    by ``from histomend.restore import ...``.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and name in _HOME_OF):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
