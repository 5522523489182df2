"""What plain arithmetic says of regions."""

import numpy as np
import torch

from lightning_langcore.regions.weight_set import WeightSet


def row_column_counts(flat: np.ndarray, rows: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights in each row and column of a matrix, from flat indices."""
    return WeightSet.of(torch.from_numpy(np.sort(flat).astype(np.int64)), (rows, cols)).row_column_counts()
