"""The pull of a critic that asks for the fine grain which errors of pixels average away."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from histomend.networks.critic import Verdict


def adversarial_loss(y: Tensor, verdict: Verdict, loss: Tensor, share: float) -> Tensor:
    """Return the critic's hinge loss, and a term that has its pull on what was made.

    Parameters
    ----------
    y : (B, 3, H, W)
        What was made, from which `loss` and the verdict follow.
    verdict : Verdict
    loss : scalar
        The error of y.
    share : float
        Norm of the pull over that of the error's gradient at y; so it neither fades nor takes
        over, whatever the critic's scores are.
    """
    (error,) = torch.autograd.grad(loss, y, retain_graph=True)
    (pull,) = torch.autograd.grad(-verdict.judged.mean(), y, retain_graph=True)
    pull = pull * (share * error.norm() / pull.norm().clamp(min=1e-12))
    critic = F.relu(1 - verdict.real).mean() + F.relu(1 + verdict.shown).mean()
    # The term is zero, so that the log shows losses; its gradient is the pull.
    return critic + (pull * (y - y.detach())).sum()
