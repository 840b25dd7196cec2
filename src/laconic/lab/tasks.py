"""Networks and classification tasks that compression is measured on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from laconic.data.cifar import load_cifar
from laconic.data.datasets import data_root
from laconic.data.idx import load_digits
from laconic.data.jpeg_pack import load_jpeg_pack
from laconic.data.outliers import CIFAR, MNIST, load_outliers
from laconic.data.toys import TOYS
from laconic.errors import ConfigError, InputError
from laconic.networks.lenet import lenet_5_caffe, lenet_300_100
from laconic.networks.perceptron import perceptron
from laconic.networks.resnet import ResNet
from laconic.training.augmentation import shift, shift_and_mirror
from laconic.training.classification import Augment

CIFAR_PACKS = ("jpeg_train49k.npz", "jpeg_test8k.npz")

HIDDEN_FROM = 5
"""First class of CIFAR-10 that `cifar5` hides."""

NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "lenet-300-100": lenet_300_100,
    "lenet-5-caffe": lenet_5_caffe,
    "lenet-5-32-64": lambda: lenet_5_caffe((32, 64), 512),
    "lenet-192": lambda: lenet_5_caffe((192, 192), 1000, 3, 32, 5),
    "resnet-20": ResNet,
    "mlp-2x400": lambda: perceptron((400, 400)),
    "mlp-3x750": lambda: perceptron((750, 750, 750)),
    "mlp-100": lambda: nn.Sequential(nn.Linear(1, 100), nn.ReLU(), nn.Linear(100, 1)),
}
"""By the name in recipes."""


@dataclass(frozen=True)
class Data:
    """A task in memory: a classification, or a regression of a few numbers.

    Attributes:
        inputs: shape `(count, ...)`.
        labels: integers, shape `(count,)`; of a regression real numbers `(count, targets)`.
        test_inputs: as `inputs`.
        test_labels: as `labels`.
        augment: what training does to a batch's inputs.
        mean: subtracted from pixels in [0, 1], by channel.
        scale: of the channels, by which the rest was divided.
    """

    inputs: Tensor
    labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    augment: Augment | None = None
    mean: Tensor | None = None
    scale: Tensor | None = None

    def to_inputs(self, pictures: Tensor) -> Tensor:
        """Pictures of other sets, with pixels in [0, 1], as the task's own are given."""
        if self.mean is None or self.scale is None:
            return pictures
        return (pictures - self.mean) / self.scale


def load_digits_task(root: Path) -> Data:
    """MNIST, of the folder `mnist` in `root`."""
    return Data(*load_digits(root / "mnist", "train"), *load_digits(root / "mnist", "t10k"))


def load_shifted_digits_task(root: Path) -> Data:
    """The same, but every training digit is shifted by up to a pixel, differently in every pass."""
    return replace(load_digits_task(root), augment=shift)


def load_cifar_task(root: Path) -> Data:
    """CIFAR-10 from the folder `cifar10` in `root`; channels with mean 0 and scale 1.

    Packs of JPEG files, which the recorded experiments were made with, or the authors' archive.

    Raises:
        InputError: there is neither, or one of them is damaged.
    """
    folder = root / "cifar10"
    packs, archive = [folder / name for name in CIFAR_PACKS], folder / "cifar-10-binary.tar.gz"
    if all(pack.exists() for pack in packs):
        (x, y), (test_x, test_y) = map(load_jpeg_pack, packs)
    elif archive.exists():
        (x, y), (test_x, test_y) = (load_cifar(archive, split) for split in ("train", "test"))
    else:
        raise InputError(f"{archive} is missing; `laconic data fetch cifar10` downloads it")
    mean, scale = (part[:, None, None] for part in (x.mean((0, 2, 3)), x.std((0, 2, 3))))
    inputs = ((x - mean) / scale, y, (test_x - mean) / scale, test_y)
    return Data(*inputs, shift_and_mirror, mean, scale)


TOY_TEST_POINTS = 200
"""Drawn from the same distribution as the 20 training points, with another seed."""


def load_toy(name: str, root: Path) -> Data:
    """A regression of `laconic.data.toys`; inputs and values have mean 0 and scale 1 in training.

    Args:
        name: one of `laconic.data.toys.TOYS`.
        root: not read, since the points are drawn.
    """
    (x, y), (test_x, test_y) = TOYS[name](seed=0), TOYS[name](seed=1, count=TOY_TEST_POINTS)
    inputs, values = ((part - whole.mean()) / whole.std() for part, whole in ((x, x), (y, y)))
    return Data(
        inputs, values, (test_x - x.mean()) / x.std(), (test_y - y.mean()) / y.std(),
        mean=x.mean(), scale=x.std(),
    )  # fmt: skip


def load_first_classes_task(root: Path) -> Data:
    """The first five classes of CIFAR-10.  Source: Louizos 4.4.1, where the others are hidden."""
    data = load_cifar_task(root)
    train, test = data.labels < HIDDEN_FROM, data.test_labels < HIDDEN_FROM
    return replace(
        data,
        inputs=data.inputs[train],
        labels=data.labels[train],
        test_inputs=data.test_inputs[test],
        test_labels=data.test_labels[test],
    )


def with_random_labels(load: Callable[[Path], Data], root: Path) -> Data:
    """A task whose training labels say nothing: they are permuted, always in the same way.

    Source: Louizos 4.5; Zhang et al. 2017.
    """
    data = load(root)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(data.labels), generator=generator)
    return replace(data, labels=data.labels[order])


TASKS: Mapping[str, Callable[[Path], Data]] = {
    "mnist": load_digits_task,
    "mnist-shifted": load_shifted_digits_task,
    "cifar10": load_cifar_task,
    "cifar5": load_first_classes_task,
    "mnist-random-labels": partial(with_random_labels, load_digits_task),
    "cifar5-random-labels": partial(with_random_labels, load_first_classes_task),
    "toy-gaps": partial(load_toy, "gaps"),
    "toy-cubic": partial(load_toy, "cubic"),
}
"""By the name in recipes; each is given the folder of all data sets."""


OUTLIERS: Mapping[str, tuple[str, ...]] = {
    "mnist": MNIST,
    "mnist-shifted": MNIST,
    "cifar10": CIFAR,
    "cifar5": CIFAR,
}
"""Sets that a task's classifiers should be uncertain on, of `laconic.data.outliers`."""


def outliers(name: str, set_name: str, count: int = 10_000, seed: int = 0) -> Tensor:
    """Pictures of another set, as inputs of a task's classifiers.

    Args:
        name: of the task.
        set_name: one of `laconic.data.outliers.NAMES`; `OUTLIERS` has those of each task.
        count: most pictures.
        seed: of noise, crops and choices.
    """
    data = task(name, 0)
    channels, height, width = data.test_inputs.shape[1:]
    return data.to_inputs(
        load_outliers(set_name, data_root(), (channels, height, width), count, seed)
    )


def task(name: str, hold_out: int) -> Data:
    """A task in memory; the last one that was read stays there.

    Args:
        name: one of `TASKS`.
        hold_out: training examples that take the place of the test set; 0 for none.
    """
    return _read_task(name, hold_out, data_root())


@lru_cache(maxsize=1)
def _read_task(name: str, hold_out: int, root: Path) -> Data:
    data = TASKS[name](root)
    return held_out(data, hold_out) if hold_out else data


def held_out(data: Data, count: int) -> Data:
    """The last training examples in place of the test set, for choices that it must not see.

    Raises:
        ConfigError: there are not so many.
    """
    if not 0 < count < len(data.inputs):
        raise ConfigError(f"{count} examples cannot be held out of {len(data.inputs)}")
    first = len(data.inputs) - count
    x, y = data.inputs, data.labels
    return replace(
        data, inputs=x[:first], labels=y[:first], test_inputs=x[first:], test_labels=y[first:]
    )
