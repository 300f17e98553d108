"""Tiles for training, cut out of whole slides where the tissue is sharp and intact."""
