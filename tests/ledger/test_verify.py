"""A ledger proves what it says, and finds what was changed after it."""

from dataclasses import replace

import numpy as np

from histomend.image import Image, read_image, write_image
from histomend.ledger import verify


def named(verification):
    return {check.name: check for check in verification.checks}


def test_an_untouched_output_is_proven_without_the_source(make_ledger):
    _, restored, mask, ledger = make_ledger()
    verification = verify(ledger, Image(restored))
    assert verification.ok
    assert [check.name for check in verification.checks] == ["size", "output", "outside the mask"]
    assert str(int(mask.sum())) in named(verification)["outside the mask"].message


def test_a_pixel_changed_outside_the_mask_is_found_and_located(make_ledger):
    source, restored, _, ledger = make_ledger()
    restored[3, 77, 2] ^= 1
    restored[80, 3, 0] ^= 1
    verification = verify(ledger, Image(restored), source)
    assert not verification.ok
    checks = named(verification)
    assert not checks["output"].ok
    assert not checks["outside the mask"].ok
    assert "2 pixel(s)" in checks["pixel by pixel"].message
    assert "x=77, y=3" in checks["pixel by pixel"].message


def test_a_pixel_changed_under_the_mask_leaves_the_rest_proven(make_ledger):
    source, restored, _, ledger = make_ledger()
    restored[12, 25, 0] ^= 1
    checks = named(verify(ledger, Image(restored), source))
    assert not checks["output"].ok
    assert checks["outside the mask"].ok
    assert checks["pixel by pixel"].ok


def test_another_source_is_told_from_the_right_one(make_ledger):
    source, restored, _, ledger = make_ledger()
    pixels = source.pixels.copy()
    pixels[40, 50] ^= 1
    checks = named(verify(ledger, Image(restored), replace(source, pixels=pixels)))
    assert checks["outside the mask"].ok
    assert not checks["source"].ok
    assert "x=50, y=40" in checks["source"].message
    other = Image(np.zeros((64, 64, 3), np.uint8))
    assert not named(verify(ledger, Image(restored), other))["source"].ok
    assert not verify(ledger, other).ok


def test_changed_transparency_is_found(make_ledger):
    source, restored, _, ledger = make_ledger(alpha=True)
    assert verify(ledger, Image(restored, alpha=source.alpha)).ok
    for alpha in (None, source.alpha + 1):
        assert not named(verify(ledger, Image(restored, alpha=alpha)))["transparency"].ok


def test_a_jpeg_proves_nothing_and_says_so(tmp_path, make_ledger):
    source, restored, _, ledger = make_ledger()
    write_image(tmp_path / "out.jpg", restored, lossy=True)
    verification = verify(ledger, read_image(tmp_path / "out.jpg"), source)
    assert not verification.ok
    checks = named(verification)
    assert "lossily compressed" in checks["output"].message
    assert "cannot be proven" in checks["outside the mask"].message
