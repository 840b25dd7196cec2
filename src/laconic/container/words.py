"""The permanent list of words that a .lac file may name by one integer.

Append only: a word's position is part of the format (docs/format.md, "Words"). Words that are not
in the list are written out; nothing depends on it being complete, it only makes headers short.
"""

from typing import Final

WORDS: Final[tuple[str, ...]] = (
    "image",
    "lossless",
    "network",
    "latents",
    "alpha",
    "icc",
    "default",
    "tiny",
    "sliced",
    "vae",
    "pln",
    "rejection",
    "importance",
    "greedy",
    "indices",
    "group sizes",
    "outliers",
    "side information",
    "budget",
    "group_limit",
    "index_bits",
    "pyramid",
    "trellis",
    "state_bits",
    "rate_percent",
    "outlier_bits",
    "map_permille",
    "rate map",
    "shard_bits",
    "block",
    "shard counts",
    "manifest",
    "tensor",
    "drawn",
    "pixels",
    "metadata",
    "photo2",
    "map",
    "mrc",
    "blocks",
)
"""Index 0 of a word in a file means "written out"; the word `WORDS[k]` is index `k + 1`."""

INDEX: Final[dict[str, int]] = {word: k + 1 for k, word in enumerate(WORDS)}
