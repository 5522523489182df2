"""Sets of single weights: algebra, files, overlap, perturbation, drift."""
