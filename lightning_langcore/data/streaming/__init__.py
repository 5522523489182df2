"""Text that is read and packed during training."""
