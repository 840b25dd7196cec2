"""Pictures as cells: square tiles that a model of small pictures sees one by one."""

from torch import Tensor


def cut(x: Tensor, side: int) -> Tensor:
    """Pictures to cells, row by row.

    Args:
        x: `(batch, channels, rows * side, columns * side)`.
        side: of a cell.

    Returns:
        `(batch * rows * columns, channels, side, side)`.
    """
    batch, channels, height, width = x.shape
    tiles = x.reshape(batch, channels, height // side, side, width // side, side)
    return tiles.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def join(cells: Tensor, rows: int, columns: int) -> Tensor:
    """Cells to pictures of `rows` x `columns` of them: undoes `cut`."""
    tiles = cells.reshape(-1, rows, columns, *cells.shape[1:]).permute(0, 3, 1, 4, 2, 5)
    return tiles.flatten(4, 5).flatten(2, 3)
