"""What is said of the parts of a slide, added up."""

import numpy as np

from histomend.image import Image
from histomend.ledger.slides import SlideAccount
from histomend.slides.slide_sink import Written


def test_notices_are_told_once() -> None:
    account = SlideAccount(Image(np.zeros((64, 64, 3), np.uint8), mpp=0.5), (1000, 800))
    copied = "The restored parts are copies."
    for share, more in ((31, []), (40, ["Grow the mask."]), (35, [])):
        report = {"regions": [], "windows": [], "nfe": 2, "provenance": None}
        account.add({**report, "notices": [copied, f"The detector takes {share}%.", *more]})
    record = account.record(
        Written("appended", "a" * 64),
        lossy=False,
        method="artifusion",
        model=None,
        options={},
        settings={},
        seed=0,
        notices=("first",),
    )
    assert record.nfe == 6
    assert record.notices == (
        "first",
        copied,
        "The detector takes 31%. (So, with other numbers, in 3 parts of the slide.)",
        "Grow the mask.",
    )
    assert (record.source.width, record.source.height) == (1000, 800)
