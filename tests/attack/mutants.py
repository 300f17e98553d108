"""Break one line of the source at a time, and list which test notices.

    python tests/attack/mutants.py [NAME ...]

Works on a copy of the project in a temporary folder. For each mutant only the nearest tests run,
those of its room: what these do not notice counts as not noticed. Ends with 1 if fewer than 28 of
30 are.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
# Share of the mutants that have to be noticed: 28 of 30.
NOTICED = 28 / 30


class Mutant(NamedTuple):
    """One broken line: in which file of the package, what is replaced, and the nearest tests."""

    file: str
    before: str
    after: str
    tests: str


MUTANTS = {
    "ddim-noise": Mutant(
        "diffusion/samplers.py",
        "spread = eta * beta.sqrt() * sigma_s / sigma_t",
        "spread = eta * beta.sqrt() * sigma_s",
        "diffusion",
    ),
    "second-order-slope": Mutant(
        "diffusion/samplers.py", "h / (2 * h_last)", "h / h_last", "diffusion"
    ),
    "extra-noise": Mutant(
        "diffusion/samplers.py", "extra_noise * sigma_t**2", "extra_noise * sigma_t", "diffusion"
    ),
    "walked-nothing": Mutant(
        "diffusion/recalibration.py",
        "stretch.last or not self._ahead[row]",
        "stretch.last",
        "diffusion",
    ),
    "window-margin": Mutant(
        "tiles/plan.py", "need = max(w, h) + 2 * margin", "need = max(w, h) + margin", "tiles"
    ),
    "field-limit": Mutant(
        "tiles/plan.py",
        "limit = math.ceil(FIELD / scale) - 2 * margin",
        "limit = math.ceil(FIELD / scale)",
        "tiles",
    ),
    "grid-start": Mutant(
        "tiles/plan.py", "before = start - start % factor", "before = start", "tiles"
    ),
    "shift-rounding": Mutant(
        "exemplar/blend.py", "(highest // 255) + whole // 2)", "(highest // 255))", "exemplar"
    ),
    "unclean-source": Mutant(
        "exemplar/candidates.py", "costs[blocked > 0.5] = np.inf", "pass", "exemplar"
    ),
    "walked-backwards": Mutant("exemplar/candidates.py", "sy + back[0]", "sy", "exemplar"),
    "both-take": Mutant(
        "exemplar/labels.py",
        "apart = (a_takes + b_takes - keep)[both]",
        "apart = (a_takes + b_takes)[both]",
        "exemplar",
    ),
    "always-soiled": Mutant(
        "exemplar/tissue.py",
        "return rim if soiled else np.zeros_like(hole)",
        "return rim",
        "exemplar",
    ),
    "biased-inverse": Mutant(
        "image/stabilise.py", "(d**2 / 4 - 1 / 8", "(d**2 / 4 - 3 / 8", "image"
    ),
    "no-headroom": Mutant(
        "image/stabilise.py", "margin = MARGIN * (high - low)", "margin = 0.0", "image"
    ),
    "clipped-levels": Mutant(
        "image/camera_noise.py", "usable = clipped <=", "usable = clipped > -", "image"
    ),
    "faded-levels": Mutant(
        "slides/faded_levels.py",
        "new = old + delta - share[..., None] * (old - means)",
        "new = old + delta",
        "slides",
    ),
    "never-scanned": Mutant(
        "slides/faded_levels.py", "mask = mask & scanned", "mask = mask | False", "slides"
    ),
    "alpha-unproven": Mutant(
        "ledger/proof.py", "checks.extend(_check_alpha(record, restored))", "pass", "ledger"
    ),
    "undo-unproven": Mutant(
        "ledger/proof.py",
        "    if pixels_sha256(pixels) != record.source.pixels_sha256:",
        "    if False:",
        "ledger",
    ),
    "class-case": Mutant(
        "masks/geojson.py", "{name.strip().casefold() for", "{name.strip() for", "masks"
    ),
    "outline-origin": Mutant(
        "masks/geojson.py",
        "np.array([x + origin[0], y + origin[1]])",
        "np.array([x, y])",
        "test_masks.py",
    ),
    "region-origin": Mutant(
        "methods/where.py",
        "about.region[:2] if about.region is not None else (0, 0)",
        "(0, 0)",
        "methods",
    ),
    "log-after-kill": Mutant(
        "train/run.py", '["step"] <= self.step', '["step"] < self.step', "train"
    ),
    "long-average": Mutant(
        "train/run.py",
        "keep = min(self.options.ema, (1 + self.step) / (10 + self.step))",
        "keep = self.options.ema",
        "train",
    ),
    "cooldown": Mutant(
        "train/fit.py", "(1 - share) / run.options.cooldown", "(1 - share)", "train"
    ),
    "border-pixels": Mutant(
        "evaluate/realism.py", "(region, iterations=2)", "(region, iterations=1)", "evaluate"
    ),
    "deep-deviation": Mutant(
        "image/resampling.py", "* 255 / np.iinfo(source.dtype).max", "", "test_upscale.py"
    ),
    "rounds-to-clean": Mutant(
        "methods/fields.py",
        "clean = np.rint(field[top : top + len(band)]) == 0",
        "clean = field[top : top + len(band)] == 0",
        "test_denoise.py",
    ),
    "blurred-limit": Mutant(
        "detect/threshold.py",
        "min(thresholds.sharpness, own)",
        "max(thresholds.sharpness, own)",
        "detect",
    ),
    "ready-order": Mutant("jobs/engines.py", "and seen.has(groups[number])", "and True", "jobs"),
}


def main(names: list[str]) -> int:
    """Try the mutants of these names, or all; return what the process ends with."""
    chosen = {name: MUTANTS[name] for name in names or MUTANTS}
    noticed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        for part in ("src", "tests", "docs", "benchmarks"):
            shutil.copytree(ROOT / part, copy / part)
        for file in ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "Makefile"):
            shutil.copy(ROOT / file, copy / file)
        if (ROOT.parent / "shared").exists():
            (copy.parent / "shared").symlink_to((ROOT.parent / "shared").resolve())
        for name, mutant in chosen.items():
            found = _first_failure(copy, mutant)
            noticed += found is not None
            print(f"{name:20} {found or 'NOTHING NOTICES IT'}", flush=True)  # noqa: T201
    print(f"{noticed} of {len(chosen)} noticed")  # noqa: T201
    return 0 if noticed >= NOTICED * len(chosen) else 1


def _first_failure(copy: Path, mutant: Mutant) -> str | None:
    """Return the first test that fails with a line broken, and put the line back."""
    file = copy / "src" / "histomend" / mutant.file
    whole = file.read_text(encoding="utf-8")
    if whole.count(mutant.before) != 1:
        raise SystemExit(
            f"{mutant.file}: {mutant.before!r} stands there {whole.count(mutant.before)} times"
        )
    file.write_text(whole.replace(mutant.before, mutant.after), encoding="utf-8")
    try:
        return _failing(copy, f"tests/{mutant.tests}")
    finally:
        file.write_text(whole, encoding="utf-8")


def _failing(copy: Path, tests: str) -> str | None:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", tests]
    # Not what is installed: the copy.
    environment = os.environ | {"PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    if ended.returncode == 0:
        return None
    found = re.search(r"^FAILED (\S+)", ended.stdout, re.MULTILINE)
    if ended.returncode != 1 or found is None:
        raise SystemExit(f"The tests did not run:\n{ended.stdout[-2000:]}")
    return found[1]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
