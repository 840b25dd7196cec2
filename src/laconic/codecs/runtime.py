"""How a network is run: precision, threads, and that nothing of it leaks out."""

import contextlib
import copy
from collections.abc import Iterator
from typing import Final

import torch

from laconic.errors import ConfigError
from laconic.models.base import NormalLadder
from laconic.threads import using

DTYPES: Final = ("float32", "bfloat16", "float64")


class Runtime:
    """A model at one precision.

    Args:
        model: the model; it is put into evaluation mode.
        dtype: "float32"; "bfloat16": autocast, latents stay float32; "float64": a copied model.
        threads: as `laconic.threads` uses them; None: as many as torch has.
    """

    def __init__(
        self, model: NormalLadder, dtype: str = "float32", threads: int | None = None
    ) -> None:
        if dtype not in DTYPES:
            raise ConfigError(f"dtype is {dtype!r}, choose one of {', '.join(DTYPES)}")
        if threads is not None and threads < 1:
            raise ConfigError(f"threads is {threads}, give 1 or more")
        self.model = copy.deepcopy(model).double() if dtype == "float64" else model
        self.model.eval()
        self.exact_prior = model.exact_prior()
        self.dtype = torch.float64 if dtype == "float64" else torch.float32
        self.autocast = dtype == "bfloat16"
        self.threads = threads
        tensors = [*model.parameters(), *model.buffers()]
        self.device = tensors[0].device if tensors else torch.device("cpu")

    @contextlib.contextmanager
    def running(self, alone: bool = True) -> Iterator[None]:
        """Inference mode, with this precision and these threads; all is put back afterwards.

        Args:
            alone: nothing runs beside, see `laconic.threads.using`.
        """
        precision = torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)
        with using(self.threads, alone), torch.inference_mode(), precision:
            yield
