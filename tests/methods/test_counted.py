"""Costs that were counted once."""

from __future__ import annotations

import pytest

from histomend.methods import catalogue
from histomend.methods.counted import COUNTED


# "histo-diffusion" lists "swinir" too.
@pytest.mark.parametrize("method", sorted({method for method, _ in COUNTED} - {"swinir"}))
def test_what_was_counted_once_is_what_counting_gives(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = catalogue.table(method)
    monkeypatch.setattr(catalogue, "COUNTED", {})
    monkeypatch.setattr(catalogue, "COUNTED_VAES", {})
    assert catalogue.table(method) == listed


def test_listing_what_was_counted_builds_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a network was built to list presets")

    for count in ("cost", "vae_cost", "restoration_cost", "controlled_cost"):
        monkeypatch.setattr(catalogue, count, refuse)
    archs: dict[str, list[tuple[str, str]]] = {}
    for method, arch in COUNTED:
        archs.setdefault(method, []).append((arch, "use"))
    monkeypatch.setattr(catalogue, "LISTED", tuple(archs))
    monkeypatch.setattr(catalogue, "_archs", archs.__getitem__)
    assert {(row["method"], row["arch"]) for row in catalogue.table()} == set(COUNTED)
