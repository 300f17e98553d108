"""Where the data of the benchmarks is unless an option says otherwise; nothing to run here."""

from __future__ import annotations

from pathlib import Path

CLEAN = Path("../shared/data/he_clean_val")
REAL = Path("../shared/data/microscopy_noisy")
