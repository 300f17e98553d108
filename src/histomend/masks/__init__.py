"""Masks: True (white) is to be restored."""

from histomend.masks.files import read_mask, write_mask
from histomend.masks.geojson import geojson_to_mask, mask_to_geojson
from histomend.masks.geometry import check_mask, label_regions, regions

__all__ = [
    "check_mask",
    "geojson_to_mask",
    "label_regions",
    "mask_to_geojson",
    "read_mask",
    "regions",
    "write_mask",
]
