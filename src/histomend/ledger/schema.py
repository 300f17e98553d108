"""What may stand in a ledger, checked field by field."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from histomend.errors import LedgerError

_Number = (int, float)
_Record = TypeVar("_Record")


def plain(value: Any, where: str = "ledger") -> Any:
    """Turn tuples, NumPy scalars and paths into what JSON holds.

    Raises
    ------
    LedgerError
        For NaN, infinity, and objects that JSON cannot hold.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise LedgerError(f"{where}: {value} cannot be stored in a ledger")
        return value
    if isinstance(value, Path):
        return value.name  # folders say more of a user than a ledger should
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, dict):
        return {str(key): plain(item, f"{where}.{key}") for key, item in value.items()}
    raise LedgerError(f"{where}: values of type {type(value).__name__} cannot be stored")


def checksum(data: dict[str, Any]) -> str:
    """Hash all fields in a fixed order: finds edits and damage, but is no signature."""
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


# A name means the same in every record, so one table serves all of them.
KINDS: dict[str, tuple[type, ...]] = {
    # the record
    "task": (str,),
    "histomend": (str,),
    "created": (str,),
    "source": (object,),  # filled before
    "output": (object,),
    "method": (str,),
    "model": (dict, type(None)),
    "options": (dict,),
    "settings": (dict,),
    "seed": (int,),
    "nfe": (int,),
    "units": (int,),
    "windows": (list,),
    "regions": (tuple,),
    "figures": (dict,),
    "notices": (list,),
    "note": (str,),
    "schema_version": (int,),
    "provenance": (dict, type(None)),
    "maps": (dict, type(None)),
    # its source and output
    "name": (str, type(None)),
    "sha256": (str, type(None)),
    "pixels_sha256": (str, type(None)),
    "alpha_sha256": (str, type(None)),
    "width": (int,),
    "height": (int,),
    "dtype": (str,),
    "mpp": (*_Number, type(None)),
    "lossy": (bool,),
    "container": (str, type(None)),
    "file_sha256": (str, type(None)),
    "region": (list, type(None)),
    "axes": (str, type(None)),
    # a change
    "bbox": (list,),
    "area_px": (int,),
    "area_um2": (*_Number, type(None)),
    "mean_change": _Number,
    "uncertainty": (*_Number, type(None)),
    "original": (str,),
    "mask": (str,),
}


# Fields that records written earlier do not have.
ADDED = {"provenance", "maps", "container", "file_sha256"}


def fill_record(kind: type[_Record], data: dict[str, Any], where: str) -> _Record:
    """Fill a dataclass from JSON, checking that each field is there and of its type."""
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name in ADDED and field.name not in data:
            continue
        value = take(data, field.name, KINDS[field.name], where)
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def take(data: dict[str, Any], key: str, kinds: tuple[type, ...], where: str = "ledger") -> Any:
    """Take a field of a given type.

    Raises
    ------
    LedgerError
        It is missing, or of another type.
    """
    if key not in data:
        raise LedgerError(f"the ledger is incomplete: {where}.{key} is missing")
    value = data[key]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        expected = " or ".join("null" if k is type(None) else k.__name__ for k in kinds)
        raise LedgerError(
            f"the ledger is damaged: {where}.{key} is {type(value).__name__}, not {expected}"
        )
    return value


def check_box(box: tuple[Any, ...], where: str) -> tuple[int, int, int, int]:
    """Check that a box is (x, y, w, h) in whole numbers.

    Raises
    ------
    LedgerError
    """
    if len(box) != 4 or any(not isinstance(n, int) or isinstance(n, bool) for n in box):
        raise LedgerError(f"the ledger is damaged: {where} is not four whole numbers")
    x, y, w, h = box
    return x, y, w, h
