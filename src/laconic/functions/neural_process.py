"""The neural process: functions with one global latent, drawn from a summary of a context.

Source: Garnelo et al. 2018; in the form of Louizos 5.4 and 10.3.1, a baseline for the FNP.
"""

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from laconic.distributions.divergence import kl_normal
from laconic.errors import ConfigError, InputError
from laconic.functions.base import Bound, FunctionPosterior, blocks, in_full, normal
from laconic.functions.likelihoods import likelihood_of
from laconic.functions.references import Pair
from laconic.training.config import build

FEWEST = 3
"""Points of the smallest random context; Louizos 5.4."""


@dataclass(frozen=True)
class NPSettings:
    """Settings. The defaults are those of Louizos 10.3.1 for MNIST.

    Attributes:
        latent: dimensions of the global latent.
        summary: numbers that summarise a context.
        classes: of a classifier; 0: the largest label of the references and one.
        least_scale: of the noise, in regression; see `Reals`.
        random_references: train with contexts drawn anew from each batch, from 3 points to as many
            as there are references. False: the references are the context of every step (table 7).
            Predictions use the references either way.
    """

    latent: int = 32
    summary: int = 256
    classes: int = 0
    least_scale: float = 0.1
    random_references: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.latent < 1 or self.summary < 1 or self.classes < 0:
            raise ConfigError("latent, summary: give 1 or more; classes: 0 or more")


@final
class NP(FunctionPosterior):
    """A neural process around any feature extractor.

    Formula: r = mean over the context of W [h, y]; theta ~ N(A ReLU(r));
        y ~ p(y | B [h, ReLU theta]).
    Source: Louizos 10.3.1.

    Args:
        torso: computes features h of inputs.
        references: see `FNP`.
        settings: fields of `NPSettings`.

    Raises:
        InputError: references that cannot be used.
        ConfigError: a setting that is unknown or cannot be.
    """

    def __init__(self, torso: nn.Module, references: Pair, **settings: Any) -> None:
        chosen = build(NPSettings, settings, "np")
        y = references[1]
        super().__init__(torso, references, likelihood_of(y, chosen.classes, chosen.least_scale))
        self.settings = chosen
        encoded, outputs = self.likelihood.encoded, self.likelihood.outputs
        self.summary_head = nn.Linear(self.features_count + encoded, chosen.summary)
        self.latent_head = nn.Sequential(nn.ReLU(), nn.Linear(chosen.summary, 2 * chosen.latent))
        self.output = nn.Linear(self.features_count + chosen.latent, outputs)

    def bound(
        self, x: Tensor, y: Tensor, examples: int, reference_inputs: Tensor | None = None
    ) -> Bound:
        """The bound of a batch, taken as a data set of its own.

        Formula: sum over the batch of log p(y_i | x_i, theta), theta ~ q(theta | batch), minus
            KL(q(theta | batch) || q(theta | context)), scaled to the training set.
        Source: Louizos 5.4; Garnelo et al. 2018, eq. 8.
        """
        self._check_batch(x, y, examples)
        context, count = None, len(x)
        if not self.settings.random_references:
            inputs = self.reference_inputs if reference_inputs is None else reference_inputs
            x = torch.cat([inputs.to(x), x])
            y = torch.cat([self.reference_targets.to(y), y])
            context = torch.arange(len(self.reference_inputs), device=x.device)
        elif len(x) < FEWEST:
            raise InputError(f"the batch has {len(x)} examples; give {FEWEST} or more")
        h = self.features(x)
        with in_full(h):
            summaries = self._summaries(h, y)
            chosen = self._context(len(x), h.device) if context is None else context
            posterior = self._global(summaries.mean(0))
            prior = self._global(summaries[chosen].mean(0))
            outputs = self._read(h, posterior.rsample())
            nll_nats = self.likelihood.nll(outputs, y).sum()
            kl_nats = kl_normal(posterior, prior).sum()
        scale = examples / len(x)
        counted = scale * kl_nats
        return Bound(scale * nll_nats, counted, counted, examples, outputs[-count:])

    @torch.no_grad()
    def outputs(self, x: Tensor, samples: int, seen: bool = False) -> Tensor:
        """Draws of the posterior predictive; see `FunctionPosterior.outputs`.

        The latent is global, so that training examples are predicted like any others.
        """
        self._check_draws(x, samples)
        h, h_references = self.features(x), self.features(self.reference_inputs)
        with in_full(h):
            summaries = self._summaries(h_references, self.reference_targets)
            latent = self._global(summaries.mean(0))
            drawn = [
                self._read(h, latent.rsample(torch.Size([count])))
                for count in blocks(samples, h.numel() + len(h) * self.settings.latent)
            ]
        return torch.cat(drawn)

    def _summaries(self, h: Tensor, y: Tensor) -> Tensor:
        """Of each point, `(count, summary)`."""
        encoded = self.likelihood.encode(y).to(h)
        summaries: Tensor = self.summary_head(torch.cat([h, encoded], -1))
        return summaries

    def _global(self, summary: Tensor) -> Normal:
        return normal(self.latent_head(summary))

    def _read(self, h: Tensor, latent: Tensor) -> Tensor:
        """Outputs `(..., batch, outputs)` of latents `(..., latent)`."""
        weight, bias = self.output.weight, self.output.bias
        count = h.shape[1]
        # The features' part is the same for all draws of the latent.
        of_features = h @ weight[:, :count].T + bias
        of_latent = torch.relu(latent) @ weight[:, count:].T
        return of_features + of_latent[..., None, :]

    def _context(self, count: int, device: torch.device) -> Tensor:
        """Indices of a random context: 3 points to as many as there are references."""
        most = max(FEWEST, min(len(self.reference_inputs), count))
        size = int(torch.randint(FEWEST, most + 1, ()))
        return torch.randperm(count, device=device)[:size]
