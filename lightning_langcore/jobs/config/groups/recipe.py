"""What the recipes of the base model and of locating have in common: a training whose result is cached."""

from pydantic import Field

from lightning_langcore.jobs.config.groups.base import Count, Group, NotNegative, Positive, Seed, Share


class Recipe(Group):
    """AdamW with a cosine schedule, independent of the run's optimizer."""

    batch_size: Count = Field(description="blocks per step")
    lr: Positive = Field(description="peak learning rate (AdamW, cosine)")
    weight_decay: NotNegative = Field(description="decoupled weight decay")
    seed: Seed = Field(description="seed of the data order")
    warmup: Share = Field(description="fraction of the steps for linear warm-up, 0..1")
