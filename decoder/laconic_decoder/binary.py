"""A binary arithmetic code (docs/format-layers.md, "Context mixing")."""

from __future__ import annotations

WORD = 0xFFFFFFFF


class BinaryReader:
    """Reads bits of known probability; bytes after the end are 0."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data + bytes(4), 4
        self.low, self.high, self.code = 0, WORD, int.from_bytes(self.data[:4], "big")

    def read(self, p: int) -> int:
        """A bit that is 1 with probability p / 2^16."""
        extent = self.high - self.low
        middle = self.low + (extent >> 16) * p + ((extent & 0xFFFF) * p >> 16)
        bit = int(self.code <= middle)
        if bit:
            self.high = middle
        else:
            self.low = middle + 1
        while (self.low ^ self.high) & 0xFF000000 == 0:
            byte = self.data[self.place] if self.place < len(self.data) else 0
            self.place += 1
            self.code = (self.code << 8 & WORD) | byte
            self.low, self.high = self.low << 8 & WORD, (self.high << 8 & WORD) | 255
        return bit
