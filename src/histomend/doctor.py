"""Check this machine: versions, devices, threads, weights, disk, optional packages.

Each check answers with a status, a message, and where something is to be done, how.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

Status = Literal["ok", "warn", "fail"]

LEAST_FREE_GB = 2.0
"""Below this a large image's output, ledger and temporary files may not fit."""
_OLDEST_PYTHON = (3, 10)
# Optional packages: distribution -> (extra that brings it, what is missing without it).
_OPTIONAL = {
    "openslide-python": ("slides", "regions of whole-slide files"),
    "openslide-bin": ("slides", "regions of whole-slide files"),
    "tiffslide": ("slides", "slide files that OpenSlide does not read"),
    "scikit-learn": ("eval", "the classifier that tells restored from true tissue"),
    "matplotlib": ("eval", "plots"),
    "torch-fidelity": ("eval", "Inception-v3 for FID and KID"),
    "transformers": ("eval", "CLIP for CMMD"),
    "timm": ("eval", "UNI and other encoders for embedding similarity"),
}


@dataclass(frozen=True)
class Check:
    """The answer of one check.

    Attributes
    ----------
    name : what was looked at.
    status : "ok", "warn" (works, with a limit) or "fail" (something will not work).
    message : what was found.
    fix : what to do; empty where nothing is to be done.
    """

    name: str
    status: Status
    message: str
    fix: str = ""


def examine(folder: Path | None = None) -> list[Check]:
    """Run all checks.

    Parameters
    ----------
    folder : where outputs will be written, by default the current folder.

    Returns
    -------
    list of Check
        A check that breaks down is itself a failed check.
    """
    where = folder or Path.cwd()
    checks: list[tuple[str, Callable[[], list[Check]]]] = [
        ("python", _python),
        ("packages", _packages),
        ("device", _devices),
        ("threads", _threads),
        ("bf16", _bf16),
        ("models", _models),
        ("disk", lambda: _disk(where)),
        ("optional packages", _optional),
    ]
    found: list[Check] = []
    for name, check in checks:
        try:
            found += check()
        except Exception as error:  # a broken installation breaks in any way it likes
            found.append(
                Check(
                    name,
                    "fail",
                    f"could not be checked: {type(error).__name__}: {error}",
                    "Install again: pip install --force-reinstall histomend",
                )
            )
    return found


def _python() -> list[Check]:
    version = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < _OLDEST_PYTHON:
        return [Check("python", "fail", version, "Use Python 3.10 or newer.")]
    return [Check("python", "ok", version)]


def _packages() -> list[Check]:
    """Compare what is installed with what Histomend asks for."""
    try:
        asked = metadata.requires("histomend") or []
    except metadata.PackageNotFoundError:
        return [
            Check(
                "packages",
                "warn",
                "histomend runs from its source folder; versions were not compared",
                "Install it: pip install -e .",
            )
        ]
    found = []
    for requirement in map(Requirement, asked):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = requirement.name
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            found.append(Check(name, "fail", "is not installed", f'pip install "{requirement}"'))
            continue
        good = requirement.specifier.contains(version, prereleases=True)
        found.append(
            Check(name, "ok", version)
            if good
            else Check(
                name,
                "fail",
                f"{version}, and {requirement.specifier} is needed",
                f'pip install "{requirement}"',
            )
        )
    return found


def _devices() -> list[Check]:
    import torch

    from histomend.diffusion.device import torch_device

    chosen = torch_device("auto")
    if chosen.type == "cuda":
        gib = torch.cuda.get_device_properties(chosen).total_memory / 2**30
        return [Check("device", "ok", f"cuda: {torch.cuda.get_device_name(chosen)}, {gib:.0f} GiB")]
    if chosen.type == "mps":
        return [Check("device", "ok", "mps: Apple GPU")]
    note = f"cpu: {_processor()}"
    if torch.version.cuda is not None and shutil.which("nvidia-smi"):
        return [
            Check(
                "device",
                "warn",
                f"{note}; an NVIDIA driver is installed, but PyTorch cannot use the GPU",
                "Compare the driver's CUDA version (nvidia-smi) with that of PyTorch "
                f"({torch.version.cuda}), and install the PyTorch build that fits.",
            )
        ]
    return [Check("device", "ok", note)]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _threads() -> list[Check]:
    import torch

    from histomend.jobs.engines import usable_cores

    used, cores = torch.get_num_threads(), usable_cores()
    message = f"{used} for {cores} usable cores"
    if used > cores:
        fix = f"Fewer are faster here: export OMP_NUM_THREADS={cores}"
        return [Check("threads", "warn", message, fix)]
    if used < cores // 2:
        limit = os.environ.get("OMP_NUM_THREADS")
        fix = (
            f"OMP_NUM_THREADS={limit} limits it; unset it to use all cores."
            if limit
            else f"export OMP_NUM_THREADS={cores}"
        )
        return [Check("threads", "warn", message, fix)]
    return [Check("threads", "ok", message)]


def _bf16() -> list[Check]:
    import torch

    from histomend.diffusion.device import has_fast_bf16, torch_device

    device = torch_device("auto")
    if has_fast_bf16(device):
        return [Check("bf16", "ok", f"in hardware on {device.type}")]
    extra = "" if torch.backends.mkldnn.is_available() else "; this PyTorch has no oneDNN either"
    return [Check("bf16", "ok", f"not in hardware on {device.type}: fp32 is used{extra}")]


def _models() -> list[Check]:
    from histomend.models import bundled

    names = bundled()
    if not names:
        return [
            Check(
                "models",
                "fail",
                "no weights came with this installation",
                "Install again, or name your own: --model FOLDER",
            )
        ]
    return [_model(name) for name in names]


def _model(name: str) -> Check:
    """Compare the weights of a bundled model, and of what lies beside them, with its card."""
    from histomend.errors import ModelError
    from histomend.models import locate, read_config, shards, weights_sha256
    from histomend.models.calibrator import CALIBRATOR, check_calibrator
    from histomend.models.detector import is_detector, load_detector
    from histomend.models.loading import is_upscaler
    from histomend.models.upscaler import load_upscaler
    from histomend.models.vae import VAE, check_vae

    title = f"model {name}"
    again = "The file is damaged. Install again: pip install --force-reinstall histomend"
    try:
        folder = locate(name)
        if is_upscaler(folder):
            # All that belongs to it is compared while it is loaded.
            sha256 = load_upscaler(name, "cpu").config.sha256
            return Check(title, "ok", f"its parts belong together, branch {sha256[:12]}…")
        if is_detector(folder):
            sha256 = load_detector(name, "cpu").config.sha256
            return Check(title, "ok", f"a detector of artifacts, sha256 {sha256[:12]}…")
        config, files = read_config(folder), shards(folder)
        if weights_sha256(files) != config.sha256:
            return Check(title, "fail", "the hash is not the card's", again)
        beside = []
        if config.latent_channels:
            check_vae(config, folder / VAE)
            beside.append(f"autoencoder {config.vae_sha256[:12]}…")
        if config.calibrator_sha256:
            check_calibrator(config, folder / CALIBRATOR)
            beside.append(f"calibrator {config.calibrator_sha256[:12]}…")
    except ModelError as error:
        return Check(title, "fail", str(error), again)
    size = sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 1e6
    hashes = ", ".join([f"sha256 {config.sha256[:12]}…", *beside])
    return Check(title, "ok", f"{size:.1f} MB, {hashes} as its card says")


def _disk(folder: Path) -> list[Check]:
    free = shutil.disk_usage(folder).free / 1e9
    message = f"{free:.1f} GB free for {folder}"
    if not os.access(folder, os.W_OK):
        fix = "Choose another output folder, or change the permissions."
        return [Check("disk", "warn", f"{message}, but it cannot be written", fix)]
    if free < LEAST_FREE_GB:
        return [Check("disk", "warn", message, "Free some space, or write elsewhere.")]
    return [Check("disk", "ok", message)]


def _optional() -> list[Check]:
    found = []
    for name, (extra, use) in _OPTIONAL.items():
        try:
            found.append(Check(name, "ok", metadata.version(name)))
        except metadata.PackageNotFoundError:
            fix = f'Only if you need it: pip install "histomend[{extra}]"'
            found.append(Check(name, "warn", f"not installed: without it no {use}", fix))
    return found
