"""Costs that were counted once."""

from __future__ import annotations

import pytest

from histomend.recipes import settings
from histomend.recipes.counted import COUNTED


@pytest.mark.parametrize("method", sorted({method for method, _ in COUNTED}))
def test_what_was_counted_once_is_what_counting_gives(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = settings.table(method)
    monkeypatch.setattr(settings, "COUNTED", {})
    monkeypatch.setattr(settings, "COUNTED_VAES", {})
    assert settings.table(method) == listed


def test_listing_what_was_counted_builds_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a network was built to list presets")

    monkeypatch.setattr(settings, "cost", refuse)
    monkeypatch.setattr(settings, "vae_cost", refuse)
    archs: dict[str, dict[str, object]] = {}
    for method, arch in COUNTED:
        archs.setdefault(method, {})[arch] = None
    monkeypatch.setattr(settings, "METHOD_ARCHS", archs)
    assert {(row["method"], row["arch"]) for row in settings.table()} == set(COUNTED)
