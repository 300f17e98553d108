"""Classes of artifacts: their names, which may be restored, and what helps with the others."""

from __future__ import annotations

from collections.abc import Iterable

from histomend.errors import SettingError

SOUND = ("glass", "tissue")
ARTIFACTS = (
    "fold",
    "bubble",
    "ink",
    "debris",
    "dark_spot",
    "out_of_focus",
    "streak",
    "haze",
    "scanner",
)
CLASSES = SOUND + ARTIFACTS
INSTEAD = {
    "out_of_focus": "scan it again with more focus points, or deconvolve it",
    "haze": "clean the cover slip and scan again",
    "scanner": "correct the field of the scan (flat field, stripes), or scan again",
}
"""Classes whose tissue is there, and seen badly: what helps instead of replacing it."""
RESTORABLE = tuple(name for name in ARTIFACTS if name not in INSTEAD)


def chosen_classes(names: Iterable[str] | None, *, restoring: bool = False) -> list[str] | None:
    """Check names of classes, which may be joined by commas; None where none is named.

    Parameters
    ----------
    restoring : bool
        Whether what is of them is to be restored.

    Raises
    ------
    SettingError
        For a class that does not exist, or one that is not to be restored.
    """
    wanted = [name.strip() for text in names or () for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in ARTIFACTS:
            raise SettingError(
                f"No class of artifacts is called {name!r}. There are {', '.join(ARTIFACTS)}."
            )
        if restoring and name in INSTEAD:
            raise SettingError(
                f"What is {name.replace('_', ' ')} is not restored: the tissue is there, and "
                f"would be replaced by other tissue. What helps: {INSTEAD[name]}. Classes that "
                f"may be restored: {', '.join(RESTORABLE)}."
            )
    return wanted or None
