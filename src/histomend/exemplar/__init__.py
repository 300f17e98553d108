"""Tissue of the same image that fits a hole: search, seams, blending, and where it came from."""
