"""Histomend finds artifacts in histology images and restores them with diffusion models.

>>> import histomend
>>> result = histomend.restore("tissue.png", mask=histomend.detect("tissue.png"), seed=0)

The names below are the public ones. They are imported when first used, because PyTorch takes
seconds to import and most of them do not need it. Restored images are not for diagnosis.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histomend.api import denoise, detect, find_artifacts, restore, upscale
    from histomend.api_slides import (
        denoise_slide,
        detect_slide,
        restore_slide,
        upscale_slide,
    )
    from histomend.curate.adapting import adapt
    from histomend.damage.artifacts import KINDS, Damaged, simulate
    from histomend.detect.threshold import Thresholds
    from histomend.errors import (
        DeviceError,
        HistomendError,
        HubError,
        ImageSizeError,
        InputError,
        InUseError,
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
    from histomend.evaluate.audit.audit import audit
    from histomend.image import Image, read_image, write_image
    from histomend.image.stack_files import read_stack, write_stack
    from histomend.image.stacks import Stack
    from histomend.jobs.job import Job
    from histomend.jobs.ray_engine import RayEngine
    from histomend.jobs.run import Result, execute
    from histomend.jobs.slide_run import SlideResult
    from histomend.ledger import Record, Verification, undo, verify
    from histomend.masks import read_mask, write_mask
    from histomend.methods.decide import decide
    from histomend.models import Model, load_model

__version__ = "0.1.0"

__all__ = [
    "KINDS",
    "Damaged",
    "DeviceError",
    "HistomendError",
    "HubError",
    "Image",
    "ImageSizeError",
    "InUseError",
    "InputError",
    "Job",
    "JobError",
    "LedgerError",
    "MaskError",
    "MissingDependencyError",
    "Model",
    "ModelError",
    "ModelMismatchError",
    "ModelNotFoundError",
    "OutputError",
    "PixelSizeError",
    "RayEngine",
    "Record",
    "RegionError",
    "ResourceError",
    "Result",
    "SettingError",
    "SlideResult",
    "Stack",
    "Thresholds",
    "TrainingError",
    "UnreadableImageError",
    "UnsafeWeightsError",
    "UnsupportedImageError",
    "ValueRangeError",
    "Verification",
    "WeightsError",
    "__version__",
    "adapt",
    "audit",
    "decide",
    "denoise",
    "denoise_slide",
    "detect",
    "detect_slide",
    "execute",
    "find_artifacts",
    "load_model",
    "read_image",
    "read_mask",
    "read_stack",
    "restore",
    "restore_slide",
    "simulate",
    "undo",
    "upscale",
    "upscale_slide",
    "verify",
    "write_image",
    "write_mask",
    "write_stack",
]

# Where the public names live that are not errors.
_HOMES = {
    "histomend.api": ("denoise", "detect", "find_artifacts", "restore", "upscale"),
    "histomend.api_slides": ("denoise_slide", "detect_slide", "restore_slide", "upscale_slide"),
    "histomend.curate.adapting": ("adapt",),
    "histomend.damage.artifacts": ("KINDS", "Damaged", "simulate"),
    "histomend.detect.threshold": ("Thresholds",),
    "histomend.evaluate.audit.audit": ("audit",),
    "histomend.image": ("Image", "read_image", "write_image"),
    "histomend.image.stack_files": ("read_stack", "write_stack"),
    "histomend.image.stacks": ("Stack",),
    "histomend.jobs.job": ("Job",),
    "histomend.jobs.ray_engine": ("RayEngine",),
    "histomend.jobs.run": ("Result", "execute"),
    "histomend.jobs.slide_run": ("SlideResult",),
    "histomend.ledger": ("Record", "Verification", "undo", "verify"),
    "histomend.masks": ("read_mask", "write_mask"),
    "histomend.methods.decide": ("decide",),
    "histomend.models": ("Model", "load_model"),
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
    """Keep ``histomend.detect`` the function, also once the room of that name is imported.

    The import system binds a submodule in its package; ``detect`` would then be a function or a
    module, depending on what was imported before. The room is still reached by
    ``from histomend.detect.threshold import ...``.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and name in _HOME_OF):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
