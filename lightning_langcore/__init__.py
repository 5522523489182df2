"""Which weights of a language model carry language, and how to keep them safe: a PyTorch Lightning extension.

The public names stand in ``__init__.pyi``; each is imported when it is first asked for, so that a submodule can be
imported without Lightning and transformers where it does without them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
