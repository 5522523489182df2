"""The callbacks of lightning-langcore at a glance; the code is in ``lightning_langcore/callbacks``.

==========================  ======================================================  ================================
callback                    what it does                                            YAML
==========================  ======================================================  ================================
``CoreGuard``               freezes a region's weights exactly, any optimizer        ``core_guard.yaml``
                            (``lightning_langcore/callbacks/core_guard.py``)
``WeightDiff``              logs how far the weights moved from their start,         ``weight_diff.yaml``
                            writes snapshots (``.../weight_diff.py``)
``MultilingualPerplexity``  perplexity and bits per byte of each language at chosen  ``multilingual_perplexity.yaml``
                            numbers of documents (``.../multilingual_perplexity.py``)
``NoiseSensitivity``        flags steps with unusual text or gradients, and logs,    ``noise_sensitivity.yaml``
                            skips, clips or stops (``.../noise_sensitivity.py``)
``PerturbRegion``           overwrites a region once, before the first step, and     chosen by ``perturbation``
                            evaluates the perturbed model (``.../perturb_region.py``)
``PlainProgress``           progress as lines of text where there is no terminal     chosen by the job
                            (``.../plain_progress.py``)
==========================  ======================================================  ================================

The YAML files are in ``conf/callbacks``. In a Python script::

    from lightning_langcore import CoreGuard
    Trainer(callbacks=[CoreGuard("core.safetensors")])
"""

from lightning_langcore.callbacks import (
    CoreGuard,
    MultilingualPerplexity,
    NoiseSensitivity,
    PerturbRegion,
    PlainProgress,
    WeightDiff,
)

__all__ = ["CoreGuard", "MultilingualPerplexity", "NoiseSensitivity", "PerturbRegion", "PlainProgress", "WeightDiff"]
