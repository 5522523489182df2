"""The callbacks of lightning-langcore at a glance; the code is in ``lightning_langcore/callbacks``.

==========================  ======================================================  ================================
callback                    what it does                                            YAML
==========================  ======================================================  ================================
``CoreGuard``               keeps a region's weights bit for bit, any optimizer      ``core_guard.yaml``
                            (``lightning_langcore/callbacks/core_guard.py``)
``WeightDiff``              running differences of the weights from their start,    ``weight_diff.yaml``
                            where they ended, written down (``.../weight_diff.py``)
``MultilingualPerplexity``  perplexity and bits per byte of each language at chosen  ``multilingual_perplexity.yaml``
                            numbers of documents (``.../multilingual_perplexity.py``)
``NoiseSensitivity``        flags steps whose text or gradients stand out, and logs,    ``noise_sensitivity.yaml``
                            skips, clips or stops (``.../noise_sensitivity.py``)
``PerturbRegion``           overwrites a region once, before the first step, and has    chosen by ``perturbation``
                            what is left evaluated (``.../perturb_region.py``)
``PlainProgress``           progress as plain lines where there is no terminal       chosen by the job
                            (``.../plain_progress.py``)
==========================  ======================================================  ================================

The YAML files are in ``conf/callbacks``. In a script of one's own::

    from lightning_langcore import CoreGuard
    Trainer(callbacks=[CoreGuard("core.safetensors")])
"""

from lightning_langcore.callbacks import CoreGuard, MultilingualPerplexity, NoiseSensitivity, PlainProgress, WeightDiff

__all__ = ["CoreGuard", "MultilingualPerplexity", "NoiseSensitivity", "PerturbRegion", "PlainProgress", "WeightDiff"]
