"""The record of what was done to an image, how to prove it and how to take it back."""

from histomend.ledger.build import build_record
from histomend.ledger.proof import Check, Verification, ledger_mask, read_described, undo, verify
from histomend.ledger.records import (
    NOTES,
    SCHEMA_VERSION,
    Change,
    OutputRecord,
    Record,
    SourceRecord,
)

__all__ = [
    "NOTES",
    "SCHEMA_VERSION",
    "Change",
    "Check",
    "OutputRecord",
    "Record",
    "SourceRecord",
    "Verification",
    "build_record",
    "ledger_mask",
    "read_described",
    "undo",
    "verify",
]
