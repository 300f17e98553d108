"""The command line: thin, one verb per function, and heavy imports only inside verbs."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

__all__ = ["main"]

EXIT_REFUSED, EXIT_INTERRUPTED = 2, 130


def main() -> None:
    """Run the program on the arguments of the process."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)
    try:
        from histomend.cli.app import run

        for stream in (sys.stdout, sys.stderr):
            # A terminal that cannot show a letter shows its escape; nothing ends for that.
            with suppress(AttributeError, ValueError, OSError):
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        run()
    except KeyboardInterrupt:  # while the program is still being loaded, too
        _end(EXIT_INTERRUPTED)
    except OSError as error:  # as what was wrong was told, or before anything was begun
        with suppress(OSError, ValueError):
            sys.stderr.write(f"Error: {error}\n")
        _end(EXIT_REFUSED)
    finally:
        try:
            sys.stdout.flush()
        except (OSError, ValueError):  # nobody reads on, or the disk behind it is full
            _end(EXIT_REFUSED)


def _interrupted(_: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; within an import end at once, as extensions swallow it there."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            _end(EXIT_INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


def _end(code: int) -> None:
    """End at once: whatever is loaded by half would only complain."""
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)
