from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from histomend.networks.padding import padded


@pytest.mark.parametrize("size", [(9, 13), (16, 7), (8, 8)])
def test_it_is_the_usual_reflection_where_that_is_possible(size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size)
    expected = F.pad(x, (0, -size[1] % 4, 0, -size[0] % 4), mode="reflect")
    assert torch.equal(padded(x, 4), expected)


def test_a_small_field_is_reflected_at_both_ends_in_turn() -> None:
    x = torch.tensor([[[[0.0, 1, 2]]]])
    assert padded(x, 8)[0, 0].tolist() == [[0, 1, 2, 1, 0, 1, 2, 1]] * 8
