"""What networks cost, counted once: counting all takes half a minute, listing them a moment.

A test counts again (`histomend.methods.costs`) and compares. An arch that is not listed
here is counted each time.
"""

from __future__ import annotations

COUNTED: dict[tuple[str, str], tuple[int, int]] = {
    ("artifusion", "full"): (29_671_620, 8_058_871_808),
    ("artifusion", "add"): (27_742_740, 8_047_337_472),
    ("artifusion", "unet"): (108_414_979, 246_836_035_584),
    ("artifusion", "small"): (4_011_496, 2_747_891_712),
    ("artifusion", "small-add"): (3_568_264, 2_743_615_488),
    ("artifusion", "small-unet"): (4_868_336, 4_614_234_112),
    ("artifusion", "base-unet"): (11_355_248, 10_793_611_264),
    ("latent-artifusion", "paper"): (113_675_524, 3_885_515_776),
    ("latent-artifusion", "small"): (10_422_992, 1_769_160_704),
    ("latent-artifusion", "swin"): (3_945_832, 617_840_640),
    ("rscd", "paper"): (285_504_899, 1_298_955_108_352),
    ("rscd", "small"): (3_416_044, 5_103_857_664),
    ("conditional", "paper"): (285_523_715, 1_300_188_233_728),
    ("conditional", "small"): (3_419_500, 5_160_480_768),
    ("noise2noise", "paper"): (285_504_899, 1_298_955_108_352),
    ("noise2noise", "small"): (3_416_044, 5_103_857_664),
    ("swinir", "paper"): (15_792_587, 22_684_778_496),
    ("swinir", "small"): (792_683, 4_416_077_824),
    ("swinir", "small-coarse"): (880_835, 1_815_347_200),
    ("histo-diffusion", "paper"): (158_380_548, 5_026_727_936),
    ("histo-diffusion", "small"): (14_884_368, 2_330_066_944),
    ("histo-diffusion", "stable-diffusion"): (1_229_064_004, 120_282_316_800),
    ("rrdb-gan", "small"): (2_533_923, 13_249_806_336),
    ("rrdb-gan", "paper"): (16_723_907, 73_534_537_728),
    ("swinir-gan", "paper"): (15_792_587, 22_684_778_496),
    ("swinir-gan", "small"): (792_683, 4_416_077_824),
    ("swinir-gan", "small-coarse"): (880_835, 1_815_347_200),
}
"""(method, arch) -> parameters, and multiply-accumulates of one call on a 256×256 image."""

COUNTED_VAES: dict[tuple[str, int], tuple[int, int, int]] = {
    ("paper", 4): (83_653_863, 136_361_082_880, 311_093_641_216),
    ("small", 16): (2_635_747, 1_790_967_808, 5_432_934_400),
}
"""(arch, latent channels) -> parameters, multiply-accumulates to encode and to decode the same."""
