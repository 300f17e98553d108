"""Make a trained model one that ships with the package: weights in fp16, settings, and its card.

    python benchmarks/bundle.py RUN/model src/histomend/weights/NAME --card card.json \
        [--fast-steps N] [--sampler S] [--extra-noise X]

The card is a JSON object (data, licence, command, time, figures, limits); it goes into the
model's config, so that `histomend models NAME` and every ledger show it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from histomend.models import load_weights, read_config, save_model


def main() -> None:
    """Write the bundled model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--card", type=Path, required=True)
    parser.add_argument("--fast-steps", type=int)
    parser.add_argument("--sampler")
    parser.add_argument("--extra-noise", type=float)
    options = parser.parse_args()
    config = read_config(options.model)
    config = replace(
        config,
        card=json.loads(options.card.read_text(encoding="utf-8")),
        fast_steps=options.fast_steps or config.fast_steps,
        sampler=options.sampler or config.sampler,
        extra_noise=config.extra_noise if options.extra_noise is None else options.extra_noise,
    )
    saved = save_model(options.out, load_weights(options.model), config, half=True)
    for file in options.out.iterdir():
        file.chmod(0o644)
    print(f"{options.out}: {saved.arch}, sha256 {saved.sha256}")


if __name__ == "__main__":
    main()
