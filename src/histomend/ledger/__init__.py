"""The change ledger: what was changed, by what, how to prove it and how to take it back."""

from histomend.ledger.build import build_ledger
from histomend.ledger.denoising import DenoiseRecord
from histomend.ledger.proof import Check, Verification, ledger_mask, undo, verify
from histomend.ledger.records import NOTE, SCHEMA_VERSION, Change, Ledger, SourceRecord
from histomend.ledger.upscaling import UpscaleRecord

__all__ = [
    "NOTE",
    "SCHEMA_VERSION",
    "Change",
    "Check",
    "DenoiseRecord",
    "Ledger",
    "SourceRecord",
    "UpscaleRecord",
    "Verification",
    "build_ledger",
    "ledger_mask",
    "undo",
    "verify",
]
