"""Jobs on slides that were interrupted go on, and only with the same inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from histomend import restore_slide
from histomend.errors import JobError
from histomend.jobs import slide_run
from histomend.jobs.journal import journal_of
from histomend.masks import write_mask
from histomend.models import Model

# The network draws what is masked by itself, in two steps.
FAST: dict[str, Any] = {"preset": "generate", "device": "cpu"}


@pytest.fixture
def interrupted(work: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return what begins a job that is interrupted once a part is done."""
    files = (work / "slide.svs", work / "out.svs", work / "mask.geojson")
    monkeypatch.setattr("histomend.tiles.slide_plan.BLOCK_PX", 128)

    def begin(at: int, **options: Any) -> None:
        calls = 0

        def restored(self: Any, *more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > at:
                raise KeyboardInterrupt
            return real(self, *more)

        real = slide_run._SlideRun._restored
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(slide_run._SlideRun, "_restored", restored)
            with pytest.raises(KeyboardInterrupt):
                restore_slide(*files, model=model, **FAST, **options)

    return begin


def test_an_interrupted_job_goes_on_and_ends_in_the_same_bytes(
    work: Path, model: Model, interrupted: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    slide, mask = work / "slide.svs", work / "mask.geojson"
    (work / "whole").mkdir()
    restore_slide(slide, work / "whole" / "out.svs", mask, model=model, **FAST)
    interrupted(2)
    parts = sorted(journal_of(work / "out.svs").glob("*.npz"))
    assert len(parts) == 2
    parts[0].write_bytes(parts[0].read_bytes()[:-30])  # a damaged part is done again
    done: list[str] = []
    real = slide_run._SlideRun._restored
    monkeypatch.setattr(
        slide_run._SlideRun,
        "_restored",
        lambda self, part, *more: done.append(part.key) or real(self, part, *more),
    )
    restore_slide(slide, work / "out.svs", mask, model=model, **FAST)
    assert len(done) == 2
    assert (work / "out.svs").read_bytes() == (work / "whole" / "out.svs").read_bytes()
    assert not journal_of(work / "out.svs").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 1}, "the seed was 0 and is 1"),
        ({"mask": "other"}, "the mask was"),
        ({"slide": "other"}, "the slide was"),
        ({"compact": True}, "the kind of output was appended and is compact"),
    ],
)
def test_other_inputs_are_not_mixed_in(
    work: Path,
    model: Model,
    interrupted: Callable[..., Any],
    change: dict[str, Any],
    says: str,
    mask: np.ndarray,
    make_slide: Any,
) -> None:
    interrupted(1)
    if change.pop("mask", None):
        write_mask(work / "mask.geojson", np.roll(mask, 5, 0), force=True)
    if change.pop("slide", None):
        make_slide(work / "slide.svs", side=32)
    with pytest.raises(JobError, match=says):
        restore_slide(
            work / "slide.svs",
            work / "out.svs",
            work / "mask.geojson",
            model=model,
            **FAST,
            **change,
        )


def test_a_job_is_done_by_one_process_at_a_time(
    work: Path, model: Model, interrupted: Callable[..., Any]
) -> None:
    interrupted(1)
    with FileLock(journal_of(work / "out.svs") / "lock"), pytest.raises(JobError, match="another"):
        restore_slide(
            work / "slide.svs", work / "out.svs", work / "mask.geojson", model=model, **FAST
        )
