"""Compositions of the shipped configuration."""

from hydra import compose, initialize_config_module

from lightning_langcore.jobs.config.settings import Settings, parse


def composed(*overrides: str):
    with initialize_config_module("lightning_langcore.conf", version_base="1.3"):
        return compose("train", overrides=["paths.output=out", *overrides])


def settings_of(*overrides: str) -> Settings:
    """What a job receives."""
    return parse(composed(*overrides))
