"""Masks: True (white) is to be restored."""

from histomend.masks.files import ReadMask, load_mask, masks_beside, read_mask, write_mask
from histomend.masks.geojson import geojson_to_mask, mask_to_geojson
from histomend.masks.geometry import check_mask, label_regions, regions, share_notice

__all__ = [
    "ReadMask",
    "check_mask",
    "geojson_to_mask",
    "label_regions",
    "load_mask",
    "mask_to_geojson",
    "masks_beside",
    "read_mask",
    "regions",
    "share_notice",
    "write_mask",
]
