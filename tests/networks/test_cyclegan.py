from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from histomend.networks.build import arch_named
from histomend.networks.critic import PatchDiscriminator
from histomend.networks.cyclegan import (
    POOL,
    CycleGan,
    Generator,
    ImagePool,
    Pass,
)


def seeded(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_two_of_each_have_the_papers_28_28_million_parameters() -> None:
    """28,285,832, cut off rather than rounded; without the norms' idle biases it were 28.27 M."""
    with torch.device("meta"):
        generator, discriminator = Generator(), PatchDiscriminator()
    assert parameters(generator) == 11_378_179
    assert parameters(discriminator) == 2_764_737
    assert 2 * (parameters(generator) + parameters(discriminator)) // 10_000 == 2828


def test_what_is_trained_as_paper_has_exactly_these() -> None:
    with torch.device("meta"):
        network = CycleGan(3, 256, **arch_named("paper", "cyclegan").settings)
    assert parameters(network) == 28_285_832


@pytest.mark.parametrize(("height", "width"), [(8, 8), (64, 64), (61, 90), (33, 17)])
def test_any_image_size_goes_in_and_comes_out_in_range(height: int, width: int) -> None:
    generator = Generator(width=4, blocks=1)
    with torch.no_grad():
        output = generator(seeded(2, 3, height, width))
    assert output.shape == (2, 3, height, width)
    assert float(output.abs().max()) <= 1


def test_images_of_a_batch_do_not_mix() -> None:
    generator, images = Generator(width=4, blocks=2), seeded(2, 3, 32, 32)
    with torch.no_grad():
        together, alone = generator(images), generator(images[1:])
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)


def test_a_256_image_gets_30_by_30_scores() -> None:
    with torch.device("meta"):
        assert PatchDiscriminator()(torch.empty(1, 3, 256, 256)).shape == (1, 1, 30, 30)


def test_a_score_sees_70_pixels() -> None:
    discriminator = PatchDiscriminator(width=4)
    # The norms see the whole image: take them out, so that only convolutions reach.
    plain = nn.Sequential(
        *(m for m in discriminator.layers if not isinstance(m, nn.InstanceNorm2d))
    )
    image = seeded(1, 3, 256, 256).requires_grad_()
    plain(image)[0, 0, 15, 15].backward()
    assert image.grad is not None
    seen = image.grad.abs().sum((0, 1)).nonzero()
    assert (seen.max(0).values - seen.min(0).values + 1).tolist() == [70, 70]


@pytest.mark.parametrize("make", [lambda: Generator(width=4, blocks=2), PatchDiscriminator])
def test_the_pair_can_be_trained(make: type[nn.Module]) -> None:
    network, image = make(), seeded(1, 3, 48, 48).requires_grad_()
    network(image).square().sum().backward()
    weights = [p for key, p in network.named_parameters() if key.endswith("weight")]
    assert all(p.grad is not None and bool(p.grad.any()) for p in weights)
    assert image.grad is not None
    assert bool(image.grad.any())


def passed(slots: Tensor | None = None) -> tuple[CycleGan, Pass]:
    network = CycleGan(3, 32, width=4, blocks=1)
    slots = torch.full((2, 2), -1) if slots is None else slots
    return network, network(seeded(2, 3, 32, 32), -seeded(2, 3, 32, 32), slots)


def reached(loss: Tensor, network: CycleGan) -> set[str]:
    """Return the names of the networks that a loss moves."""
    network.zero_grad()
    loss.backward(retain_graph=True)
    named = network.named_parameters()
    return {name.partition(".")[0] for name, p in named if p.grad is not None and p.grad.any()}


def test_critics_learn_from_their_scores_alone_and_generators_from_theirs() -> None:
    network, made = passed()
    generators = {"restoring", "damaging"}
    assert reached(made.on_clean.real.sum() + made.on_clean.shown.sum(), network) == {
        "clean_critic"
    }
    assert reached(made.on_clean.judged.square().sum(), network) == {"restoring"}
    assert reached(made.on_damaged.judged.square().sum(), network) == {"damaging"}
    assert reached(made.cycled_clean.square().sum(), network) == generators
    assert reached(made.kept_clean.square().sum(), network) == {"restoring"}


def test_a_pool_shows_older_images_once_it_is_full() -> None:
    pool = ImagePool(1, 4)
    images = torch.arange(POOL + 2.0)[:, None, None, None].expand(-1, 1, 4, 4)
    first = pool(images[:POOL], torch.zeros(POOL, dtype=torch.int64))
    assert torch.equal(first, images[:POOL]), "all are fresh while it fills"
    later = pool(images[POOL:], torch.tensor([7, -1]))
    assert later[:, 0, 0, 0].tolist() == [7, POOL + 1]
    again = pool(images[:1], torch.tensor([7]))
    assert float(again.mean()) == POOL, "the exchanged one took its place"


def test_what_a_critic_is_shown_is_of_its_own_pool() -> None:
    network, made = passed()
    assert int(network.clean_pool.filled) == int(network.damaged_pool.filled) == 2
    torch.testing.assert_close(made.on_clean.shown, made.on_clean.judged, rtol=1e-3, atol=1e-4)
