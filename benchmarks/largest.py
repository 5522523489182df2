"""The control that weight size is: a region of the largest weights, and how much of another region lies in it.

python benchmarks/largest.py BASE_FOLDER largest.safetensors --beside RUN/region.safetensors
python train.py +experiment=recovery_unfrozen region=file region.file=largest.safetensors
"""

import argparse
from pathlib import Path

from lightning_langcore import Region, select
from lightning_langcore.params import candidates
from lightning_langcore.scores import Weights


def main() -> None:
    """Write the region and print the share of the other one that lies in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="folder of the base model, as artifacts/base-*")
    parser.add_argument("out", type=Path, help="region file to write")
    parser.add_argument("--fraction", type=float, default=0.05)
    parser.add_argument("--beside", type=Path, help="region file to compare with")
    options = parser.parse_args()
    weights = Weights(options.base)
    shapes = candidates({name: tuple(weights[name].shape) for name in weights})
    sizes = ((name, weights[name].float().abs()) for name in shapes)
    largest = select(sizes, options.fraction, "highest", meta={"kind": "largest", "score": "magnitude"})
    print(largest.save(options.out))
    if options.beside:
        other = Region.load(options.beside)
        print(
            f"{len(other & largest) / len(other):.1%} of {options.beside} are among the largest {options.fraction:.0%}"
        )


if __name__ == "__main__":
    main()
