from __future__ import annotations

import torch

from histomend.networks.stable_diffusion import controlnet_for, paper_unet


def test_the_papers_networks_have_the_papers_sizes() -> None:
    with torch.device("meta"):
        unet = paper_unet()
        net = controlnet_for(unet)
    sizes = [sum(p.numel() for p in network.parameters()) for network in (unet, net)]
    assert sizes == [865_910_724, 363_153_280]
    assert len(net.controlnet_down_blocks) + 1 == 13, "zero convolutions"
