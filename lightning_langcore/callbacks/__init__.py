"""Callbacks for any LightningModule; each works in a script that knows nothing of Hydra."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
