"""Cutting large images into windows, and what is worked on where."""
