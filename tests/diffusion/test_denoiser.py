from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from histomend.diffusion.denoiser import (
    NO_CONDITION,
    Condition,
    Denoiser,
    Denoises,
    Prediction,
    TiledDenoiser,
)
from histomend.diffusion.loop import Recipe, sample
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.samplers import ddim
from histomend.diffusion.schedule import Schedule, cosine
from histomend.diffusion.trajectory import FixedTrajectory
from histomend.errors import SettingError
from histomend.models import bundled, load_model

LEVELS = cosine(1000)


class Says(nn.Module):
    """A network that gives a fixed answer."""

    def __init__(self, answer: Tensor):
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.seen = x
        return self.answer


def pixelwise(x: Tensor, t: Tensor, condition: Condition) -> Prediction:
    """Predict from each pixel alone, and from what the sample is told."""
    shift = t.reshape(-1, 1, 1, 1).to(x) / 1000
    if condition.maps is not None:
        shift = shift + condition.maps[:, :1]
    if condition.vectors is not None:
        shift = shift + condition.vectors[:, :1, None, None]
    return Prediction(torch.tanh(x + shift), torch.sin(x) * shift, torch.sigmoid(x))


# A denoiser


@pytest.mark.parametrize("kind", ["epsilon", "x0", "v"])
def test_whatever_a_network_predicts_x0_and_eps_are_right(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 3, 2, 4, 4, generator=generator, dtype=torch.float64)
    t = torch.tensor([1, 500, 990])
    alpha, sigma = LEVELS.at(t, x0)
    answers = {"epsilon": eps, "x0": x0, "v": alpha * eps - sigma * x0}
    denoiser = Denoiser(Says(answers[kind]), LEVELS, kind)  # type: ignore[arg-type]
    found = denoiser(LEVELS.noised(x0, t, eps), t)
    torch.testing.assert_close(found.x0, x0)
    torch.testing.assert_close(found.eps, eps)
    assert found.variance_mix is None


def test_a_second_half_of_the_output_is_a_learned_variance() -> None:
    answer = torch.cat([torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), -1.0)], 1)
    found = Denoiser(Says(answer), LEVELS, "epsilon")(torch.zeros(1, 3, 2, 2), torch.tensor([5]))
    assert found.eps.shape == (1, 3, 2, 2)
    assert found.variance_mix is not None
    assert not found.variance_mix.any()


def test_the_network_sees_the_maps_behind_x() -> None:
    network = Says(torch.zeros(1, 3, 2, 2))
    x, maps = torch.ones(1, 3, 2, 2), torch.full((1, 4, 2, 2), 2.0)
    Denoiser(network, LEVELS, "x0")(x, torch.tensor([5]), Condition(maps))
    assert torch.equal(network.seen, torch.cat([x, maps], 1))


def test_an_unknown_prediction_is_named() -> None:
    network = Says(torch.zeros(1, 3, 2, 2))
    with pytest.raises(SettingError, match=r"'score'.*epsilon, x0 and v"):
        Denoiser(network, LEVELS, "score")(  # type: ignore[arg-type]
            torch.zeros(1, 3, 2, 2), torch.tensor([5])
        )


# Tiles

SIDE = st.integers(1, 60)


@settings(max_examples=40, deadline=None)
@given(SIDE, SIDE, st.integers(2, 24), st.integers(1, 5), st.data())
def test_for_a_pixelwise_denoiser_tiles_change_nothing(
    height: int, width: int, window: int, batch: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, window - 1))
    generator = torch.Generator().manual_seed(0)
    # With an overlap of all but one pixel the sums are long: more than float32 keeps to 1e-6.
    kind = torch.float32 if overlap <= window // 2 else torch.float64
    x = torch.randn(2, 3, height, width, generator=generator).to(kind)
    condition = Condition(x[:, :2].flip(-1), torch.tensor([[0.2], [0.7]], dtype=kind))
    t = torch.tensor([10, 900])
    whole = pixelwise(x, t, condition)
    tiled = TiledDenoiser(pixelwise, window, overlap, batch)(x, t, condition)
    for name in ("x0", "eps", "variance_mix"):
        torch.testing.assert_close(getattr(tiled, name), getattr(whole, name), rtol=0, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 64), st.data())
def test_windows_cover_the_side_overlap_and_end_flush(
    length: int, window: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, window - 1))
    origins = TiledDenoiser(pixelwise, window, overlap).origins(length)
    assert origins[0] == 0
    assert origins[-1] == max(0, length - window)
    gaps = torch.tensor(origins).diff()
    assert bool(((gaps >= 1) & (gaps <= window - overlap)).all())


@settings(max_examples=30, deadline=None)
@given(SIDE, SIDE, st.integers(2, 24), st.data())
def test_weights_are_a_partition_of_unity(
    height: int, width: int, window: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, window - 1))

    def ones(x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        return Prediction(torch.ones_like(x), x)

    place = torch.arange(height * width, dtype=torch.float32).reshape(1, 1, height, width)
    tiled = TiledDenoiser(ones, window, overlap)
    found = tiled(place, torch.tensor([1]))
    torch.testing.assert_close(found.x0, torch.ones(1, 1, height, width), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.eps, place, rtol=1e-5, atol=1e-6)
    assert bool((tiled.weights() > 0).all())


def test_windows_without_anything_needed_are_left_out() -> None:
    needed = torch.zeros(40, 100, dtype=torch.bool)
    needed[5:9, 58:70] = True
    calls: list[Tensor] = []

    def counted(x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        calls.extend(x)
        return pixelwise(x, t, condition)

    x = torch.randn(1, 1, 40, 100, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([500])
    tiled = TiledDenoiser(counted, 24, 8, batch=3, needed=needed)
    found = tiled(x, t)
    # Of 2 × 6 windows, those at row 0 and columns 48 and 64.
    assert len(calls) == 2
    expected = pixelwise(x, t, NO_CONDITION)
    torch.testing.assert_close(found.x0[..., needed], expected.x0[..., needed], rtol=0, atol=1e-6)
    assert not found.x0[..., :40].any()


def test_nothing_needed_is_no_call_at_all() -> None:
    def never(x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        raise AssertionError

    tiled = TiledDenoiser(never, 8, 2, needed=torch.zeros(20, 20, dtype=torch.bool))
    assert not tiled(torch.ones(1, 1, 20, 20), torch.tensor([1])).x0.any()


@pytest.mark.parametrize("overlap", [-1, 8, 9])
def test_an_overlap_that_does_not_fit_the_window_is_refused(overlap: int) -> None:
    with pytest.raises(SettingError, match="less than 8"):
        TiledDenoiser(pixelwise, 8, overlap)


# Seams


class Unmasked(Recipe):
    """Makes up a whole field."""

    def __init__(self, height: int, width: int, told: bool):
        self.blank = torch.zeros(1, 3, height, width)
        if told:
            self.condition = Condition(torch.cat([self.blank, self.blank[:, :1] + 1], 1))

    def start(self, noise: NoiseStream) -> Tensor:
        return noise.draw(self.blank)


def across_borders(
    denoiser: Denoises,
    levels: Schedule,
    *,
    window: int,
    overlap: int,
    seeds: int,
    told: bool = False,
    weights: Callable[[], Tensor] | None = None,
) -> float:
    """Return the mean |horizontal gradient| at window borders over that of the interior.

    Interior columns are those at the same place in the network's 4×4 patches. As fields differ
    much more than borders do, the same ratio of the untiled field from the same noise divides it.
    """
    width = window + 3 * (window - overlap)
    tiled = TiledDenoiser(denoiser, window, overlap, batch=4)
    if weights is not None:
        tiled.weights = weights  # type: ignore[method-assign]
    starts = tiled.origins(width)
    borders = sorted({*starts, *(x + window for x in starts)} - {0, width})
    phases = {x % 4 for x in borders}
    inside = range(window // 4, width - window // 4)
    interior = [x for x in inside if x % 4 in phases and x not in borders]

    def gradients(one: Denoises, seed: int) -> Tensor:
        stream = NoiseStream([NoiseField(seed)], [(0, 0)])
        path = FixedTrajectory(levels.spaced(5))
        x = sample(one, Unmasked(window, width, told), path, ddim(levels), stream, levels).x
        return x.diff(dim=-1).abs().mean((0, 1, 2))

    ratios = []
    for one in (tiled, denoiser):
        mean = torch.stack([gradients(one, seed) for seed in range(seeds)]).mean(0)
        # Entry k lies between columns k and k + 1.
        ratios.append(
            mean[[x - 1 for x in borders]].mean() / mean[[x - 1 for x in interior]].mean()
        )
    return float(ratios[0] / ratios[1])


def small_network() -> nn.Module:
    """Return a small convolutional x0 network with random weights."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(3, 16, 5, padding=2), nn.SiLU(), nn.Conv2d(16, 3, 5, padding=2)
            )

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return torch.tanh(3 * self.layers(x))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Network().eval()


def test_a_field_sampled_in_tiles_has_no_seams() -> None:
    denoiser = Denoiser(small_network(), LEVELS, "x0")
    ratio = across_borders(denoiser, LEVELS, window=64, overlap=16, seeds=6)
    assert 0.97 <= ratio <= 1.03
    # The same without weights and overlap draws seams, so this would be noticed.
    plain = across_borders(
        denoiser, LEVELS, window=64, overlap=0, seeds=6, weights=lambda: torch.ones(64, 64)
    )
    assert not 0.97 <= plain <= 1.03


@pytest.mark.skipif("artifusion-he" not in bundled(), reason="its weights are not here")
def test_a_field_of_the_bundled_model_has_no_seams() -> None:
    model = load_model("artifusion-he", "cpu")
    levels = model.config.noise_schedule()
    ratio = across_borders(
        model.denoiser, levels, window=64, overlap=16, seeds=4, told=model.config.context
    )
    assert 0.97 <= ratio <= 1.03
