"""The page on which raters answer: no names, no order that could be guessed, keys alone."""

from __future__ import annotations

import math
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from fastapi import FastAPI, Response
from pydantic import BaseModel, ConfigDict, Field

from histomend.errors import InputError
from histomend.evaluate.study import ANSWERS, QUESTIONS, Study
from histomend.web.contrast import Shown, as_png, first_contrast
from histomend.web.pyramid import TILE_PX, ArrayPyramid, Pyramid, last_level, open_pyramid
from histomend.web.server import page_app

RATE_FILES = frozenset({"rate.js", "style.css", "talk.js"})
_MOST_SIDE_PX = 2048
# Of a catch trial: as a share of the longer side, so that it is seen at any size.
_BLUR = 0.04


class Rater(BaseModel):
    """Who answers."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=200)


class Said(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="forbid")

    rater: int
    trial: int
    answer: str = Field(max_length=20)
    corrects: bool = False
    seconds: float = Field(ge=0, le=1e6, allow_inf_nan=False)


def rate_app(study: Study) -> FastAPI:
    """Return the application of a study."""
    app = page_app("rate.html", RATE_FILES)
    lock = threading.Lock()

    def state(rater: int) -> dict[str, Any]:
        return {
            "rater": rater,
            "trial": study.next_trial(rater),
            "of": len(study.trials(rater)),
            "question": QUESTIONS[study.question],
            "answers": ANSWERS[study.question],
        }

    @app.post("/api/raters")
    def enter(rater: Rater) -> dict[str, Any]:
        with lock:
            return state(study.enter(rater.name))

    @app.post("/api/answers")
    def answer(said: Said) -> dict[str, Any]:
        with lock:
            study.add(said.rater, said.trial, said.answer, said.seconds, corrects=said.corrects)
            return state(said.rater)

    @app.get("/pictures/{rater}/{trial}/{place}")
    def picture(rater: int, trial: int, place: int) -> Response:
        study.next_trial(rater)  # refuses raters that there are not
        trials = study.trials(rater)
        if not 0 <= trial < len(trials) or not 0 <= place < len(trials[trial].shown):
            raise InputError("There is no such picture.")
        chosen = trials[trial]
        pair = study.pairs[chosen.pair]
        path = (pair.first, pair.second)[chosen.shown[place]]
        pixels = _picture(Path(path), Path(pair.first))
        if chosen.blurred == place:
            sigma = _BLUR * max(pixels.shape[:2])
            pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)
        return Response(as_png(pixels), media_type="image/png")

    return app


@lru_cache(maxsize=16)
def _picture(path: Path, first: Path) -> Shown:
    """Return an image as it is shown, with the contrast of the first of its pair."""
    pyramid = open_pyramid(path)
    look = first_contrast(pyramid if path == first else open_pyramid(first))
    return look.shown(_whole(pyramid))


def _whole(pyramid: Pyramid) -> Any:
    plane = pyramid.planes // 2
    if not isinstance(pyramid, ArrayPyramid):
        return pyramid.overview(plane)
    level = last_level(pyramid.width, pyramid.height)
    side = max(pyramid.width, pyramid.height)
    while side > _MOST_SIDE_PX:
        side, level = (side + 1) // 2, level - 1
    step = 2 ** (last_level(pyramid.width, pyramid.height) - level)
    columns = math.ceil(pyramid.width / step / TILE_PX)
    rows = math.ceil(pyramid.height / step / TILE_PX)
    return np.concatenate(
        [
            np.concatenate([pyramid.tile(level, c, r, plane) for c in range(columns)], axis=1)
            for r in range(rows)
        ]
    )
