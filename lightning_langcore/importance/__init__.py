"""Importance scores of weights, and the regions selected by them."""
