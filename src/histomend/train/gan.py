"""Training of the upscalers with a critic that Histo-Diffusion is compared with.

They are what BSRGAN and Real-ESRGAN (RRDBNet) and SwinIR-GAN are when they learn from tissue; the
published weights learned from photographs. They differ from those:

- They are smaller, and restore an image that was enlarged to its size, so that one network serves
  every scale; the published ones enlarge by 4 themselves.
- Their loss is the mean absolute error and a critic's pull. The published ones add the error of
  VGG features, whose weights are a download and learned from photographs.
- The critic is a plain patch discriminator with a hinge loss, and its pull a fixed share of the
  error's. ESRGAN's is relativistic, Real-ESRGAN's a U-Net; both weigh it by a constant.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from histomend.models.restoration import RestorationConfig
from histomend.train.adversarial import adversarial_loss
from histomend.train.comparison_options import RestoringGanOptions
from histomend.train.swinir import RestorationLesson, RestorationTrainee, restoration_lesson


def lesson(options: RestoringGanOptions) -> RestorationLesson:
    """Return the lesson of a restoration module against a critic."""
    pull = options.adversarial
    config = RestorationConfig(
        options.arch,
        options.degradation,
        options.mpp,
        method=options.verb.name,
        card={"adversarial": pull},
    )
    trainee = RestorationTrainee(config, critic=pull > 0)

    def error(network: nn.Module, degraded: Tensor, clean: Tensor) -> Tensor:
        if not trainee.critic:
            return F.l1_loss(network(degraded).float(), clean)
        restored, verdict = network(degraded, clean)
        loss = F.l1_loss(restored, clean)
        return loss + adversarial_loss(restored, verdict, loss, pull)

    return restoration_lesson(options, trainee, error)
