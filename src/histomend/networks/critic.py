"""The critic of the adversarial trainings: a patch discriminator, and what it is asked."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

# Channels of the first level of a critic that only brings grain back: half of CycleGAN's.
CRITIC_WIDTH = 32


class PatchDiscriminator(nn.Module):
    """Judges whether each 70×70 patch of an image is of the wanted kind (PatchGAN).

    As CycleGAN has it (Zhu et al. 2017, appendix 7.2):
    4×4 convolutions, three of stride 2 and two of stride 1, which together see 70 px; instance
    norm between all but the first and the last.

    Parameters
    ----------
    channels : int
        Of the images.
    width : int
        Channels after the first convolution; doubled three times.
    """

    def __init__(self, channels: int = 3, width: int = 64):
        super().__init__()
        slope = 0.2
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1)]
        layers += [nn.LeakyReLU(slope)]
        for level, stride in enumerate((2, 2, 1)):
            here = width << level
            layers += [nn.Conv2d(here, 2 * here, 4, stride=stride, padding=1)]
            layers += [nn.InstanceNorm2d(2 * here), nn.LeakyReLU(slope)]
        layers += [nn.Conv2d(8 * width, 1, 4, padding=1)]
        self.layers = nn.Sequential(*layers)
        start(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return a score per patch, (B, 1, H/8 - 2, W/8 - 2), for x (B, channels, H, W).

        Scores are unbounded; a loss drives them up for images of the wanted kind and down for
        others. H and W are 32 or more, rounded down where they are no multiples of 8.
        """
        return self.layers(x)


class Verdict(NamedTuple):
    """What a critic says, (B, 1, h, w) each.

    Parameters
    ----------
    real, shown : for the critic to learn from
        Its scores of images of the wanted kind, and of generated ones, new or older.
    judged : for the generator to learn from
        Its scores of the images that the generator has just made.
    """

    real: Tensor
    shown: Tensor
    judged: Tensor


def judged(
    critic: PatchDiscriminator, real: Tensor, fake: Tensor, shown: Tensor | None = None
) -> Verdict:
    """Return a critic's scores, in fp32: of images, and of what a generator has made.

    Parameters
    ----------
    real, fake : (B, C, H, W) in [-1, 1]
    shown : the same, optional
        Generated images to learn from in place of `fake`.
    """
    # The generator learns from the critic as it stands, and must not change it.
    still = {name: tensor.detach() for name, tensor in critic.named_parameters()}
    both = torch.cat([real, fake.detach() if shown is None else shown])
    of_real, of_shown = critic(both).float().chunk(2)
    return Verdict(of_real, of_shown, functional_call(critic, still, (fake,)).float())


class Judged(nn.Module):
    """A restoring network whose results a critic judges: one pass of training.

    Parameters
    ----------
    restoring : module
        Gives images (B, 3, H, W) for images of the same size, both in [0, 1].
    """

    def __init__(self, restoring: nn.Module):
        super().__init__()
        self.restoring = restoring
        self.critic = PatchDiscriminator(width=CRITIC_WIDTH)

    def forward(self, degraded: Tensor, clean: Tensor) -> tuple[Tensor, Verdict]:
        """Return the restored images in fp32, and what the critic says of them."""
        # In fp32 before the critic sees it: error and pull are then gradients at the same tensor.
        y = self.restoring(degraded).float()
        return y, judged(self.critic, 2 * clean - 1, 2 * y - 1)


@torch.no_grad()
def start(network: nn.Module) -> None:
    """Draw the weights of convolutions from N(0, 0.02²), as CycleGAN does; biases start at 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
