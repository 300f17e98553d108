"""The command line: thin, one verb per function, and heavy imports only inside verbs."""

from histomend.cli.app import main

__all__ = ["main"]
