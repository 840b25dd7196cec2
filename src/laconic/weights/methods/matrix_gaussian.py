"""Variational matrix Gaussian (VMG): weights with covariances of rows and of columns.

q(W) = MN(M, U, V), conditioned on pseudo-data. Rows are a layer's inputs (the entries of a patch,
in a convolution) and one row for the bias; columns are its outputs. Inputs are divided by the root
of the number of rows, so that the prior MN(0, I, I) fits layers of all widths.

Source: Louizos 3 and 10.2.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from laconic.errors import ConfigError
from laconic.weights.base import (
    FORWARD,
    LOG_VARIANCE_STEP,
    TRANSPOSED,
    Apply,
    Draws,
    LayerInfo,
    Point,
    StoredPosterior,
    WeightMethod,
    step_of,
)
from laconic.weights.methods.covariance import RootCovariance
from laconic.weights.methods.drawing import draw_outputs, squared
from laconic.weights.methods.pseudo_data import Condition, PseudoData
from laconic.weights.precision import GammaPrecision

TINY = 1e-8
"""Least variance of an output."""

OBJECTIVES = ("published", "corrected")


@final
@dataclass(frozen=True)
class MatrixGaussian(WeightMethod):
    """Settings of VMG.

    Attributes:
        pseudo: pairs of pseudo-data for each layer; fewer in layers with as few rows. Grouped and
            transposed convolutions and embeddings have none.
        largest_rate: bound on the noise of the pseudo-data as a rate of dropout (the source: 0.005
            and 0.05 for regression, 0.25 for classification).
        rank: of the low-rank part of both covariances; 0 for diagonal ones. Layers without
            pseudo-data have diagonal ones.
        objective: "published" takes the KL of MN(M, U, V), as the tables of the source did;
            "corrected" that of the conditioned matrix Gaussian, with which the bound holds.
        prior_scales: whether the prior's scales have Gamma posteriors, as in the source's
            regressions; otherwise the prior is MN(0, I, I).
        log_scale: initial logarithms of the standard deviations of rows and of columns.
        damping: variance added to pseudo-outputs; with "corrected" each pair costs about
            -½ log(damping) nats an output.
    """

    name: ClassVar[str] = "vmg"
    pseudo: int = 10
    largest_rate: float = 0.25
    rank: int = 0
    objective: str = "published"
    prior_scales: bool = False
    log_scale: float = -2.0
    damping: float = 1e-8

    def __post_init__(self) -> None:
        """Refuse settings that cannot be."""
        if self.objective not in OBJECTIVES:
            raise ConfigError(
                f"objective: '{self.objective}' is not one of {', '.join(OBJECTIVES)}"
            )
        if not 0 < self.largest_rate <= 0.5:
            raise ConfigError(
                f"largest_rate is {self.largest_rate}: give a rate above 0 and at most 0.5, where "
                "alpha is 1"
            )
        if min(self.pseudo, self.rank) < 0 or not self.damping > 0:
            raise ConfigError("pseudo and rank must be 0 or more, damping above 0")

    def posterior(self, info: LayerInfo) -> "MatrixGaussianPosterior":
        """A matrix Gaussian around the weight and the bias."""
        return MatrixGaussianPosterior(info, self)


@final
class MatrixGaussianPosterior(StoredPosterior):
    """A matrix Gaussian over the weight and the bias of a layer.

    Args:
        info: the layer; its numbers times the root of the number of rows are the initial means.
        settings: of the method.

    Attributes:
        mean: M, `(rows, columns)`; the last rows are the bias.
        rows: root of U.
        columns: root of V.
        pseudo: pseudo-data, or None.
        scales: Gamma posteriors of the prior's precisions: of rows and of columns; may be empty.
    """

    scale_steps: ClassVar[Mapping[str, float]] = {
        "rows.log_scale": LOG_VARIANCE_STEP / 2,
        "columns.log_scale": LOG_VARIANCE_STEP / 2,
        "pseudo.inputs_log_alpha": LOG_VARIANCE_STEP,
        "pseudo.outputs_log_alpha": LOG_VARIANCE_STEP,
    }
    training_only: ClassVar[tuple[str, ...]] = ("scales.",)

    def __init__(self, info: LayerInfo, settings: MatrixGaussian) -> None:
        super().__init__()
        weight, bias = info.weight, info.bias
        self.settings, self.weight_shape = settings, weight.shape
        self.column_axis = 1 if isinstance(info.layer, (*TRANSPOSED, nn.Embedding)) else 0
        matrix = weight.movedim(self.column_axis, -1).flatten(0, -2)
        self.inner, self.bias_rows = len(matrix), 0
        if bias is not None:
            self.bias_rows = len(bias) // matrix.shape[1]
            matrix = torch.cat([matrix, bias.view(self.bias_rows, -1)])
        size, width = matrix.shape
        self.factor = 1 / math.sqrt(size)
        self.mean = nn.Parameter(matrix / self.factor)
        # There, U and the pseudo-data act as a few more filters over the same inputs.
        self.by_filters = isinstance(info.layer, FORWARD) and getattr(info.layer, "groups", 1) == 1
        rank = settings.rank if self.by_filters else 0
        self.rows = RootCovariance(matrix, size, settings.log_scale, min(rank, size))
        self.columns = RootCovariance(matrix, width, settings.log_scale, min(rank, width))
        pairs = min(settings.pseudo, size - 1) if self.by_filters else 0
        self.pseudo = (
            PseudoData(self.mean.detach(), pairs, settings.largest_rate, settings.damping)
            if pairs
            else None
        )
        count = 2 if settings.prior_scales else 0
        self.scales = nn.ModuleList(GammaPrecision(1.0, 0.5, matrix) for _ in range(count))

    def numbers(self, matrix: Tensor) -> tuple[Tensor, Tensor | None]:
        """A matrix `(..., rows, columns)` as a weight and a bias of the layer."""
        matrix = matrix * self.factor
        inner = [size for axis, size in enumerate(self.weight_shape) if axis != self.column_axis]
        weight = matrix[..., : self.inner, :]
        shape = (*matrix.shape[:-2], *inner, matrix.shape[-1])
        weight = weight.reshape(shape).movedim(-1, self.column_axis + matrix.dim() - 2)
        bias = matrix[..., self.inner :, :].flatten(-2) if self.bias_rows else None
        return weight, bias

    def _condition(
        self, count: tuple[int, ...] = (), drawn: bool = True
    ) -> tuple[Condition, Tensor] | None:
        """Pseudo-data that the weights are conditioned on, and pseudo-outputs; drawn or means."""
        if self.pseudo is None:
            return None
        pair = (self.pseudo.inputs, self.pseudo.outputs)
        inputs, outputs = self.pseudo.draw(count) if drawn else pair
        return self.pseudo.condition(inputs, self.rows), outputs

    def _centre(self, given: tuple[Condition, Tensor] | None, around: Tensor) -> Tensor:
        """Weights after conditioning on pseudo-data.  Source: Louizos 39.

        Args:
            given: pseudo-data.
            around: the weights before, `(..., rows, columns)`.
        """
        if given is None:
            return around
        condition, outputs = given
        residual = outputs.double() - condition.inputs @ around.double()
        return around + condition.shift(residual).to(around.dtype)

    def forward(self, x: Tensor, apply: Apply) -> Tensor:
        """Draw pseudo-data for all examples, then every example's outputs.  Source: Louizos 39."""
        if not self.by_filters:
            return self._forward_dense(x, apply)
        given = self._condition()
        centre = self._centre(given, self.mean)
        filters = [centre]
        low_rank = self.rows.low_rank
        if low_rank is not None:
            filters += [low_rank, self.rows.scale.unsqueeze(-1) * low_rank]
        if given is not None:
            filters.append(given[0].projection.to(centre.dtype))
        axis = 1 - len(self.weight_shape)  # of the outputs
        found = apply(x, *self.numbers_of_filters(torch.cat(filters, 1)))
        mean, *rest = torch.split(found, [one.shape[1] for one in filters], axis)
        diagonal = self.rows.scale.square().unsqueeze(-1) * self.factor
        variance = apply(x.square(), *self.numbers_of_filters(diagonal))
        if low_rank is not None:
            first, second = rest[:2]
            gram = (first.movedim(axis, -1) @ (low_rank.mT @ low_rank)).movedim(-1, axis)
            variance = variance + (first * (2 * second + gram)).sum(axis, keepdim=True)
        if given is not None:
            variance = variance - rest[-1].square().sum(axis, keepdim=True)
        return self._draw(mean, variance.clamp_min(TINY), axis)

    def numbers_of_filters(self, matrix: Tensor) -> tuple[Tensor, Tensor | None]:
        """A matrix `(rows, filters)` as a weight and a bias with so many outputs."""
        matrix = matrix * self.factor
        weight = matrix[: self.inner].mT.reshape(-1, *self.weight_shape[1:])
        return weight, matrix[self.inner] if self.bias_rows else None

    def _draw(self, mean: Tensor, variance: Tensor, axis: int) -> Tensor:
        """Outputs with this mean and the columns' covariance times a variance of each position."""
        if self.columns.low_rank is None:
            behind = [1] * (-1 - axis)
            return draw_outputs(mean, variance * self.columns.scale.square().view(-1, *behind))
        noise = torch.randn_like(mean).movedim(axis, -1)
        return mean + variance.sqrt() * self.columns.after(noise).movedim(-1, axis)

    def _forward_dense(self, x: Tensor, apply: Apply) -> Tensor:
        """Outputs of a layer without pseudo-data, from the variance of every weight."""
        mean = apply(x, *self.numbers(self.mean))
        variance = self.marginal_variance() * self.factor
        return draw_outputs(mean, apply(squared(x), *self.numbers(variance)) + TINY)

    def marginal_variance(self) -> Tensor:
        """Variance of every number of the matrix before conditioning, `(rows, columns)`."""
        return self.rows.diagonal().unsqueeze(-1) * self.columns.diagonal()

    def penalty(self) -> Tensor:
        """KL of the weights, of the pseudo-data and of the prior's scales, in nats.

        Formula: ½ (t (tr U tr V + |M|²) - r c - c log det U - r log det V - r c E[log t]), t the
        precision of the prior. "corrected" has M and U conditioned on a draw of the pseudo-data:
        tr U falls by |P|², log det U by log det Sigma - pairs log damping.
        Source: Louizos 35, 42 to 45, 123; ERRATA 13 and 14.
        """
        mean: Tensor = self.mean
        trace, log_det = self.rows.trace(), self.rows.log_det()
        given = self._condition() if self.settings.objective == "corrected" else None
        if given is not None:
            mean, root = self._centre(given, mean), given[0].root
            trace = trace - given[0].projection.square().sum().to(trace.dtype)
            known = len(root) * math.log(self.settings.damping)
            log_det = log_det + (known - 2 * root.diagonal().log().sum()).to(log_det.dtype)
        rows, columns = mean.shape
        precision, log_precision = mean.new_ones(()), mean.new_zeros(())
        for scale in self.scales:
            assert isinstance(scale, GammaPrecision)
            precision, log_precision = precision * scale.mean(), log_precision + scale.mean_log()
        total = 0.5 * (
            precision * (trace * self.columns.trace() + mean.square().sum())
            - rows * columns * (1 + log_precision)
            - columns * log_det
            - rows * self.columns.log_det()
        )
        for part in (self.pseudo, *self.scales):
            if isinstance(part, PseudoData | GammaPrecision):
                total = total + part.penalty()
        return total

    @torch.no_grad()
    def draw_weights(self, count: int) -> Draws:
        """Independent draws of the weight and the bias, each with its own pseudo-data.

        Formula: a draw of MN(M, U, V), then moved to its pseudo-data (Matheron's rule).
        """
        like = self.mean
        noise = torch.randn(count, *like.shape, dtype=like.dtype, device=like.device)
        drawn = like + self.columns.after(self.rows.times(noise))
        given = self._condition((count,))
        if given is not None:
            condition, outputs = given
            error = torch.randn_like(outputs) * math.sqrt(self.settings.damping)
            drawn = self._centre((condition, outputs - self.columns.after(error)), drawn)
        return self.numbers(drawn)

    @torch.no_grad()
    def code_scales(self) -> Mapping[str, Tensor]:
        """Of the mean, from the diagonal parts of both covariances."""
        return {"mean": self.rows.scale.unsqueeze(-1) * self.columns.scale}

    @torch.no_grad()
    def point(self) -> Point:
        """The mean under the means of the pseudo-data; the step follows from the variances."""
        weight, bias = self.numbers(self._centre(self._condition(drawn=False), self.mean))
        step = step_of(self.marginal_variance() * self.factor**2)
        return Point(weight, bias, step, step)

    @torch.no_grad()
    def constrain(self) -> None:
        """Keep the noise of the pseudo-data within its bounds."""
        if self.pseudo is not None:
            self.pseudo.constrain()
