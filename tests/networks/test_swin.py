from __future__ import annotations

import pytest
import torch
from torch import Tensor

from histomend.networks.swin import (
    SwinBlock,
    WindowAttention,
    from_windows,
    relative_index,
    to_windows,
    window_mask,
)


def seeded(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_windows_are_cut_and_put_together_again() -> None:
    x = seeded(2, 8, 12, 3)
    windows = to_windows(x, 4)
    assert windows.shape == (2 * 2 * 3, 16, 3)
    assert torch.equal(windows[1], x[0, :4, 4:8].reshape(16, 3))
    assert torch.equal(from_windows(windows, 4, 8, 12), x)


def test_pairs_of_tokens_with_the_same_offset_share_a_bias() -> None:
    index = relative_index(3)
    assert index.shape == (9, 9)
    assert index[0, 1] == index[4, 5] == index[7, 8]
    assert index[0, 3] == index[5, 8] != index[0, 1]
    assert (int(index.min()), int(index.max())) == (0, 24)


def test_a_window_that_the_shift_joins_from_two_sides_is_kept_apart() -> None:
    mask = window_mask(8, 8, 4, 2, 8, 8)
    assert mask.shape == (4, 16, 16)
    assert not mask[0].any(), "the first window lies in one piece"
    # In the window at the right border, the last two columns come from the left border.
    left, right = 0, 3
    assert mask[1, left, right] == mask[1, right, left] == -100
    assert mask[1, left, 1] == 0


def test_nobody_sees_padding() -> None:
    mask = window_mask(8, 8, 4, 0, 6, 7)
    rows = mask[3, 0].reshape(4, 4)
    assert bool((rows[:2, :3] == 0).all())
    assert bool((rows[2:] == -100).all())
    assert bool((rows[:, 3:] == -100).all())


@pytest.mark.parametrize("shift", [0, 2])
def test_what_is_in_the_padding_changes_nothing(shift: int) -> None:
    attention = WindowAttention(8, 2, 4)
    mask = window_mask(8, 8, 4, shift, 6, 7)
    x = seeded(1, 8, 8, 8)
    other = x.clone()
    other[:, 6:] = 3 * seeded(1, 2, 8, 8)
    other[:, :, 7:] = -3

    def seen(values: Tensor) -> Tensor:
        moved = values.roll((-shift, -shift), (1, 2))
        out = from_windows(attention(to_windows(moved, 4), mask, None), 4, 8, 8)
        return out.roll((shift, shift), (1, 2))[:, :6, :7]

    assert torch.equal(seen(x), seen(other))
    assert not torch.equal(seen(x), seen(seeded(1, 8, 8, 8) + 1))


def test_shifted_windows_let_neighbouring_windows_talk() -> None:
    x = seeded(1, 8, 8, 8).requires_grad_()
    for shift, reached in ((0, False), (2, True)):
        block = SwinBlock(8, 2, window=4, shift=shift)
        (gradient,) = torch.autograd.grad(block(x)[0, 3, 3].sum(), x)
        assert bool(gradient[0, 5, 5].any()) is reached


@pytest.mark.parametrize("time", ["token", "add"])
def test_a_block_is_told_the_time(time: str) -> None:
    block = SwinBlock(8, 2, window=4, time=time, time_channels=16)  # type: ignore[arg-type]
    x = seeded(2, 8, 8, 8)
    embedding = seeded(2, 16)
    first, second = block(x, embedding), block(x, -embedding)
    assert first.shape == x.shape
    assert not torch.allclose(first, second)
    # Each sample of a batch has its own time.
    mixed = block(x, torch.stack([embedding[0], -embedding[1]]))
    torch.testing.assert_close(mixed, torch.stack([first[0], second[1]]))


def test_the_token_equals_one_more_key_and_value_computed_by_hand() -> None:
    """One window, one head: attention over 4 image tokens and the time token (section 2)."""
    attention = WindowAttention(6, 1, 2).double()
    x, token = seeded(1, 4, 6).double(), seeded(1, 6).double()
    q, k, v = (attention.qkv(torch.cat([x, token[:, None]], 1))).chunk(3, -1)
    bias = attention.bias_table[relative_index(2).flatten(), 0].reshape(4, 4)
    scores = q[:, :4] @ k.transpose(1, 2) / 6**0.5
    # The bias covers only the image tokens; the token's own query is dropped.
    scores[..., :4] += bias
    expected = attention.proj(scores.softmax(-1) @ v)
    torch.testing.assert_close(attention(x, None, token), expected)


def test_stochastic_depth_drops_whole_samples_and_only_in_training() -> None:
    block = SwinBlock(8, 2, window=4, drop_path=0.5)
    x = seeded(32, 4, 4, 8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        same = [torch.equal(a, b) for a, b in zip(block(x), x, strict=True)]
    # Both branches are dropped for about a quarter of the samples.
    assert 1 <= sum(same) <= 16
    block.eval()
    assert torch.equal(block(x), block(x))


def test_a_mask_made_while_sampling_serves_training_too() -> None:
    """It is kept from call to call, and autograd refuses some tensors of the inference mode."""
    window_mask.cache_clear()
    block = SwinBlock(8, 2, window=4, shift=2)
    x = seeded(1, 6, 7, 8)
    with torch.inference_mode():
        block(x)
    block(x).square().sum().backward()
    assert block.attention.qkv.weight.grad is not None
