"""The plugin for napari: what it adds is listed in napari.yaml, beside this file."""
