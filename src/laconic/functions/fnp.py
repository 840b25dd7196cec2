"""The functional neural process, FNP and FNP+: functions as a graph of dependencies.

Every input has an embedding u. References are joined by a directed graph G without circles, other
points to the references by a bipartite graph A. The parents of a point give the prior of its latent
z, and z gives the target; in the FNP+, z and u together.

```
x ─► torso ─┬─► u ─► edges to references ─► p(z | parents) ─┐
            └─► q(z | x)                       KL(q || p) ◄─┴─► z (and u) ─► y
```

Source: Louizos 5.2 and 10.3. The published code loops over pairs, takes one target only, and in its
loss gives the reference set half of the weight; see `FNPSettings.reference_share`.
"""

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from laconic.distributions.divergence import kl_normal
from laconic.errors import ConfigError, InputError
from laconic.functions.base import Bound, FunctionPosterior, blocks, in_full, normal
from laconic.functions.free_nats import FreeNats
from laconic.functions.graphs import (
    drawn_edges,
    latent_prior,
    log_edge_probability,
    may_follow,
    relaxed_edges,
)
from laconic.functions.likelihoods import likelihood_of
from laconic.functions.references import Pair
from laconic.training.config import build


@dataclass(frozen=True)
class FNPSettings:
    """Settings. The defaults are those of Louizos 10.3.1 for classification.

    Attributes:
        plus: FNP+: targets depend on u, too.
        embedding: dimensions of u.
        latent: dimensions of z.
        classes: of a classifier; 0: the largest label of the references and one.
        hidden: units of the hidden layer between latents and outputs; 0: outputs are linear in the
            rectified latents.
        temperature: of the relaxed edges.
        free_nats: KL per dimension of z that counts little; see `FreeNats`.
        least_scale: of the noise, in regression; see `Reals`.
        reference_share: share of the loss that the references have. 0: their share of the training
            set, so that the loss estimates the bound without bias (eq. 137). The published code
            has 0.5.
        random_references: train with references drawn anew from each batch, as many as there are
            (table 7). Predictions use the fixed ones.
    """

    plus: bool = False
    embedding: int = 32
    latent: int = 64
    classes: int = 0
    hidden: int = 0
    temperature: float = 0.3
    free_nats: float = 1.0
    least_scale: float = 0.1
    reference_share: float = 0.0
    random_references: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name in ("embedding", "latent"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: {getattr(self, name)}; give 1 dimension or more")
        if self.hidden < 0 or self.classes < 0:
            raise ConfigError("hidden, classes: give 0 or more")
        if not self.temperature > 0:
            raise ConfigError(f"temperature: {self.temperature:g}; give a number above 0")
        if not 0 <= self.reference_share < 1:
            raise ConfigError(
                f"reference_share: {self.reference_share:g}; give a number from 0 to below 1"
            )


@final
class FNP(FunctionPosterior):
    """A functional neural process around any feature extractor.

    Args:
        torso: computes features of inputs, such as `laconic.networks.torso.torso_of(net)`.
        references: inputs `(count, ...)` and targets: integer labels `(count,)` for a classifier,
            real numbers `(count,)` or `(count, targets)` for a regression.
        settings: fields of `FNPSettings`.

    Raises:
        InputError: references that cannot be used.
        ConfigError: a setting that is unknown or cannot be.

    Example:
        `process = FNP(torso, references=(xr, yr), plus=True)`

    Source: Louizos, eq. 64 to 73.
    """

    def __init__(self, torso: nn.Module, references: Pair, **settings: Any) -> None:
        chosen = build(FNPSettings, settings, "fnp")
        y = references[1]
        super().__init__(torso, references, likelihood_of(y, chosen.classes, chosen.least_scale))
        self.settings = chosen
        u, z, count = chosen.embedding, chosen.latent, self.features_count
        self.embedding_head = nn.Linear(count, 2 * u)
        self.latent_head = nn.Linear(count, 2 * z)
        self.target_head = nn.Linear(self.likelihood.encoded, 2 * z)
        self.output = readout(z + u * chosen.plus, self.likelihood.outputs, chosen.hidden)
        # Squared distances of u grow with its dimensions; the published code starts here, too.
        self.log_precision = nn.Parameter(torch.tensor(float(u)).log() * -0.5)
        self.free_nats = FreeNats(chosen.free_nats)

    def bound(
        self, x: Tensor, y: Tensor, examples: int, reference_inputs: Tensor | None = None
    ) -> Bound:
        """The minibatch estimate of the bound; of every latent one draw.

        Formula: L = L_R + |M| / |batch| sum over the batch of
            log p(y_i | z_i) - KL(q(z_i | x_i) || p(z_i | parents of i)); L_R likewise.
        Source: Louizos, eq. 72 and 134 to 137. The KLs are exact given the graph.
        """
        self._check_batch(x, y, examples)
        (xr, yr), (xm, ym) = self._divide(x, y, reference_inputs)
        targets = torch.cat([yr.to(ym), ym])
        h = self.features(torch.cat([xr.to(xm), xm]))
        with in_full(h):
            u = normal(self.embedding_head(h)).rsample()
            q = normal(self.latent_head(h))
            edges = self.edges(u[len(xr) :], u[: len(xr)])
            prior = latent_prior(edges, *self._messages(q, yr))
            kl_nats = kl_normal(q, prior).sum(-1)
            outputs = self._read(q.rsample(), u)
            nll_nats = self.likelihood.nll(outputs, targets)
            weights = self._weights(len(xr), len(xm), examples).to(nll_nats)
            counted = self.free_nats(kl_nats, q.mean.numel())
        whole = examples + (0 if self.settings.random_references else len(xr))
        sums = [(weights * nats).sum() for nats in (nll_nats, kl_nats, counted)]
        return Bound(sums[0], sums[1], sums[2], whole, outputs[len(xr) :])

    def edges(self, others: Tensor, references: Tensor) -> Tensor:
        """Draw G and A, one below the other; relaxed in training mode, else 0 or 1.

        Source: Louizos, eq. 65 and 66.

        Args:
            others: embeddings of the points outside R, `(others, embedding)`.
            references: embeddings of R, `(references, embedding)`.

        Returns:
            `(references + others, references)`: a row for each point, its parents.
        """
        everyone = torch.cat([references, others])
        log_g = log_edge_probability(everyone, references, self.log_precision)
        if self.training:
            drawn = relaxed_edges(log_g, self.settings.temperature)
        else:
            drawn = drawn_edges(log_g)
        mask = torch.ones_like(drawn, dtype=torch.bool)
        mask[: len(references)] = may_follow(references)
        return torch.where(mask, drawn, 0.0)

    @torch.no_grad()
    def outputs(self, x: Tensor, samples: int, seen: bool = False) -> Tensor:
        """Draws of the posterior predictive; see `FunctionPosterior.outputs`.

        Edges are 0 or 1. Source: Louizos, eq. 73 and 141; with `seen`, eq. 140 for a point of M.
        """
        self._check_draws(x, samples)
        h, h_references = self.features(x), self.features(self.reference_inputs)
        drawn = []
        with in_full(h):
            u, u_references = (normal(self.embedding_head(one)) for one in (h, h_references))
            messages = self._messages(
                normal(self.latent_head(h_references)), self.reference_targets
            )
            q = normal(self.latent_head(h))
            for count in blocks(samples, len(x) * (len(h_references) + q.mean.shape[1])):
                shape = torch.Size([count])
                embedded = u.rsample(shape)
                z = q if seen else self._prior(embedded, u_references.rsample(shape), messages)
                draws = z.rsample(shape if seen else torch.Size())
                drawn.append(self._read(draws, embedded))
        return torch.cat(drawn)

    def edge_probabilities(self, x: Tensor) -> Tensor:
        """g(u_i, u_j) at the means of u, `(batch, references)`: who is a likely parent of whom.

        Source: Louizos, figures 14 and 15.
        """
        with torch.no_grad():
            u, references = (
                normal(self.embedding_head(self.features(one))).mean
                for one in (x, self.reference_inputs)
            )
            return log_edge_probability(u, references, self.log_precision).exp()

    def constrain(self) -> None:
        """Change the KL's weight; call this after every step of the optimiser."""
        self.free_nats.constrain()

    def _prior(self, u: Tensor, references: Tensor, messages: tuple[Tensor, Tensor]) -> Normal:
        """p(z | parents) of new points under drawn embeddings and edges."""
        log_g = log_edge_probability(u, references, self.log_precision)
        return latent_prior(drawn_edges(log_g), *messages)

    def _messages(self, q: Normal, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mu and nu that references give their children: a part of x (rows of q) and one of y.

        Source: Louizos 5.2.2.
        """
        encoded = self.likelihood.encode(targets).to(q.mean)
        mean, log_scale = self.target_head(encoded).chunk(2, -1)
        count = len(targets)
        return mean + q.mean[:count], log_scale + q.scale[:count].log()

    def _read(self, z: Tensor, u: Tensor) -> Tensor:
        outputs: Tensor = self.output(torch.cat([z, u], -1) if self.settings.plus else z)
        return outputs

    def _divide(self, x: Tensor, y: Tensor, given: Tensor | None) -> tuple[Pair, Pair]:
        """The reference set and the other points of a batch."""
        if not self.settings.random_references:
            inputs = self.reference_inputs if given is None else given
            return (inputs, self.reference_targets), (x, y)
        count = len(self.reference_inputs)
        if len(x) <= count:
            raise InputError(
                f"the batch has {len(x)} examples; to draw {count} references from each batch, "
                "make it larger"
            )
        order = torch.randperm(len(x), device=x.device)
        first, rest = order[:count], order[count:]
        return (x[first], y[first]), (x[rest], y[rest])

    def _weights(self, references: int, others: int, examples: int) -> Tensor:
        """How much each point of R and of the batch counts, `(references + others,)`."""
        share, whole = self.settings.reference_share, examples + references
        if self.settings.random_references:
            whole, share = examples, share or references / (references + others)
        share = share or references / whole
        sums = (share * whole, (1 - share) * whole)
        return torch.cat([
            torch.full((count,), total / count)
            for count, total in zip((references, others), sums, strict=True)
        ])  # fmt: skip


def readout(inputs: int, outputs: int, hidden: int) -> nn.Sequential:
    """From latents to outputs: linear behind rectifiers, or with a hidden layer."""
    if not hidden:
        return nn.Sequential(nn.ReLU(), nn.Linear(inputs, outputs))
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
