"""Text: where it comes from, how it is split, mixed, packed for training and cut into windows for scoring."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
