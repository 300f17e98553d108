"""What `import histomend` offers, and what it costs."""

import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import histomend
from histomend import errors

HEAVY = ("torch", "skimage", "scipy", "cv2", "numpy", "tifffile")


def modules_after(statement: str) -> set[str]:
    """Return which heavy modules a fresh interpreter has imported after a statement."""
    code = f"import sys\n{statement}\nprint('\\n'.join(m for m in {HEAVY!r} if m in sys.modules))"
    path = {**os.environ, "PYTHONPATH": str(Path(histomend.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=path,
    )
    return set(done.stdout.split("--- modules")[-1].split()) & set(HEAVY)


@pytest.mark.parametrize("name", histomend.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(histomend, name) is not None
    assert name in dir(histomend)


def test_every_error_is_public() -> None:
    named = {name for name, _ in inspect.getmembers(errors, inspect.isclass)}
    assert named <= set(histomend.__all__)


def test_no_public_name_is_listed_twice() -> None:
    assert len(histomend.__all__) == len(set(histomend.__all__))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'frobnicate'"):
        _ = histomend.frobnicate


def test_detect_stays_a_function_once_its_room_is_imported() -> None:
    import histomend.detect.threshold

    assert inspect.isfunction(histomend.detect)


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert modules_after("import histomend, histomend.errors") == set()


def test_help_imports_nothing_heavy() -> None:
    run = (
        "sys.argv = ['histomend', 'restore', '--help']\n"
        "from histomend.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    print('--- modules')"
    )
    assert modules_after(run) == set()


def test_every_public_name_is_in_the_reference() -> None:
    """Errors by their module, whose whole tree is shown."""
    page = (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
    shown = {
        (module, name)
        for module, names in re.findall(
            r"^::: (\S+)\n(?:    .*\n)*?      members: \[(.*)\]", page, re.M
        )
        for name in names.split(", ")
    }
    for module, name in shown:
        assert hasattr(import_module(module), name), (module, name)
    named = {name for _, name in shown} | {"KINDS", "__version__"}
    assert "::: histomend.errors\n" in page
    missing = [
        name for name in histomend.__all__ if name not in named and not hasattr(errors, name)
    ]
    assert missing == []
