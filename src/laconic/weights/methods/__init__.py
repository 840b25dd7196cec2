"""The methods that make weights probabilistic, one file each, and their table."""

from laconic.weights.base import WeightMethod
from laconic.weights.methods.dropout import Dropout
from laconic.weights.methods.gaussians import LogUniform, MeanField
from laconic.weights.methods.group_horseshoe import GroupHorseshoe
from laconic.weights.methods.group_jeffreys import GroupJeffreys
from laconic.weights.methods.kmeans import KMeans
from laconic.weights.methods.l0 import L0
from laconic.weights.methods.matrix_gaussian import MatrixGaussian
from laconic.weights.methods.miracle import Miracle
from laconic.weights.methods.multiplicative_flow import MultiplicativeFlow
from laconic.weights.methods.relaxed_quantization import RelaxedQuantization
from laconic.weights.methods.soft_sharing import SoftSharing
from laconic.weights.methods.sparse_vd import SparseVD

METHODS: dict[str, type[WeightMethod]] = {
    kind.name: kind
    for kind in (
        SparseVD,
        RelaxedQuantization,
        L0,
        GroupJeffreys,
        GroupHorseshoe,
        Miracle,
        SoftSharing,
        KMeans,
        MeanField,
        LogUniform,
        Dropout,
        MatrixGaussian,
        MultiplicativeFlow,
    )
}
"""Methods by name."""
