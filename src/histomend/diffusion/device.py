"""Which device work runs on, and in which number format."""

from __future__ import annotations

import ctypes
import sys

import torch

from histomend.errors import DeviceError


def torch_device(name: str = "auto") -> torch.device:
    """Return the device called `name`; "auto" takes CUDA, then Apple MPS, then the CPU.

    Raises
    ------
    DeviceError
        If there is no such device on this machine.
    """
    here = ["cpu"]
    if torch.backends.mps.is_available():
        here.insert(0, "mps")
    if torch.cuda.is_available():
        here.insert(0, "cuda")
    if name == "auto":
        return torch.device(here[0])
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    index = (device.index or 0) if device is not None else 0
    if device is None or device.type not in here or (index and index >= torch.cuda.device_count()):
        raise DeviceError(
            f"There is no device {name!r} here. This machine has: {', '.join(here)}. "
            "Leave --device away, or use --device cpu."
        )
    return device


def has_fast_bf16(device: torch.device) -> bool:
    """Return whether bf16 arithmetic is done in hardware on `device`.

    A CPU without AVX-512 BF16 or AMX emulates it, several times slower than fp32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe()) if probe is not None else False


def return_freed_memory() -> None:
    """Give the system back what was freed, where the C library would keep it (glibc).

    After work in parts of changing size it keeps most of them, in pieces between others: a
    gigabyte for a large field.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
