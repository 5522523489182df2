"""What was located in a work folder."""

from lightning_langcore.models.safetensors_reader import Weights

LANGUAGES = ["es", "ru", "zh"]


def base_of(work):
    return Weights(next((work / "artifacts").glob("base-*")))
