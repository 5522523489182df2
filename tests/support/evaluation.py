"""Batches to evaluate, of sequences of several lengths."""

import torch

from tests.support.models import VOCAB


def ragged(sizes, seed):
    """One batch per entry of ``sizes``: sequences of these lengths, padded on the right."""
    generator = torch.Generator().manual_seed(seed)
    out = []
    for lengths in sizes:
        width = max(lengths)
        ids = torch.zeros(len(lengths), width, dtype=torch.int64)
        labels = torch.full((len(lengths), width), -100)
        for row, length in enumerate(lengths):
            tokens = torch.randint(0, VOCAB, (length + 1,), generator=generator)
            ids[row, :length], labels[row, :length] = tokens[:-1], tokens[1:]
        out.append({"input_ids": ids, "shift_labels": labels, "num_bytes": 3 * sum(lengths)})
    return out


LOADERS = {"zh": ragged([[5, 9, 3], [12]], 0), "en": ragged([[7], [2, 2]], 1)}
