"""Parts of a slide: every masked pixel belongs to one of them, and none is too large."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histomend.errors import MaskError
from histomend.image.pixels import Frame
from histomend.masks.slide_masks import PictureMask
from histomend.tiles import slide_plan
from histomend.tiles.slide_plan import plan_slide


def planned(mask: np.ndarray, **options: float) -> slide_plan.SlidePlan:
    height, width = mask.shape
    return plan_slide(
        PictureMask(mask, Frame(width, height)), (width, height), **{"mpp": 0.5, **options}
    )


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_each_masked_pixel_belongs_to_one_part(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(70, 900)), data.draw(st.integers(70, 900))
    mask = np.zeros((height, width), bool)
    for _ in range(data.draw(st.integers(1, 12))):
        x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
        w, h = data.draw(st.integers(1, 400)), data.draw(st.integers(1, 400))
        mask[y : y + h, x : x + w] = True
    if mask.all():
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slide_plan, "BLOCK_PX", 256)
        patch.setattr(slide_plan, "MOST_REACH_PX", 100)
        plan = planned(mask)
    owners = np.zeros(mask.shape, int)
    earlier: dict[str, np.ndarray] = {}
    for part, row in zip(plan.parts, plan.rows_done(), strict=True):
        x, y, w, h = part.region
        place = np.s_[y : y + h, x : x + w]
        own = part.own(mask[place])
        assert own.sum() == part.masked_px
        cx, cy, cw, ch = part.core
        assert own[cy - y : cy - y + ch, cx - x : cx - x + cw].sum() == part.masked_px
        assert max(cw, ch) <= 2 * 256
        owners[place] += own
        # What it sees of its artifacts as restored was restored by those that it comes after.
        done = part.finished(mask[place])
        seen = np.zeros(mask.shape, bool)
        for key in part.after:
            seen |= earlier[key]
        assert not (done & ~seen[place]).any()
        earlier[part.key] = np.zeros(mask.shape, bool)
        earlier[part.key][place] = own
        assert all(later.core[1] >= row for later in plan.parts[len(earlier) :])
    assert (owners == mask).all()
    assert plan.masked_px == mask.sum()
    assert len({part.key for part in plan.parts}) == len(plan.parts)


def test_artifacts_that_windows_could_show_of_each_other_stay_together() -> None:
    mask = np.zeros((3000, 3000), bool)
    mask[1000:1020, 1010:1020] = True
    mask[1000:1020, 1050:1060] = True  # over the border of a block, and 30 px away
    mask[1000:1020, 2600:2610] = True
    plan = planned(mask)
    assert (plan.artifacts, len(plan.parts)) == (2, 2)
    assert [part.masked_px for part in plan.parts] == [400, 200]
    assert plan.parts[0].region == (0, 0, 2112, 2048)  # a kilopixel around whole cells


def test_reach_is_a_length_on_the_slide() -> None:
    mask = np.zeros((9000, 9000), bool)
    mask[4500:4520, 4500:4520] = True
    by_mpp = {mpp: planned(mask, mpp=mpp).parts[0].region[2] for mpp in (1.0, 0.5, 0.25, 0.1)}
    assert by_mpp == {1.0: 64 + 2 * 512, 0.5: 64 + 2 * 1024, 0.25: 64 + 2 * 2048, 0.1: 64 + 4096}


def test_another_artifact_changes_no_seed() -> None:
    mask = np.zeros((3000, 3000), bool)
    mask[2500:2520, 2500:2520] = True
    alone = planned(mask).parts[0]
    mask[100:120, 100:120] = True
    both = planned(mask).parts[1]
    assert alone.seed(7) == both.seed(7) != alone.seed(8)
    assert 0 <= alone.seed(7) < 2**63


@pytest.mark.parametrize(("value", "says"), [(False, "no pixel"), (True, "whole slide")])
def test_masks_that_say_nothing(value: bool, says: str) -> None:
    with pytest.raises(MaskError, match=says):
        planned(np.full((300, 300), value))
