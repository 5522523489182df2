"""The group ``model``: a pretrained model, or the small default whose base this project pretrains."""

from typing import Annotated, Any, Literal

from pydantic import Field, StrictStr

from lightning_langcore.jobs.config.groups.base import (
    Count,
    Expected,
    Flag,
    Group,
    Languages,
    Positive,
    Seed,
    Text,
)
from lightning_langcore.jobs.config.groups.recipe import Recipe


class Base(Group):
    """The base of a pretrained model."""

    seed: Seed = Field(description="seed of locate")


class BaseRecipe(Recipe):
    """How the base of the small default is pretrained."""

    languages: Languages = Field(description="languages to train on; null: all languages of the data")
    tokens: Count = Field(description="number of training tokens over all languages")
    tokenizer_documents: Count = Field(description="documents per language that the tokenizer is trained on")
    max_epochs: Positive = Field(description="maximum number of epochs of the text")
    seed: Seed = Field(description="seed of initial weights and data order, for base and locate")


class AnyModel(Group):
    """The settings of every model."""

    name: Text = Field(description="name in results and tables")
    path: Annotated[StrictStr | None, Expected("null, a hub id or a folder")] = Field(
        description="hub id, or folder saved by save_pretrained; null, only for model=tiny: the base is pretrained"
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        description="type of the weights. In bfloat16 small updates vanish: keep float32 to measure changes"
    )
    attention: Text = Field(
        description="attn_implementation of transformers: sdpa, eager, flash_attention_2, flex_attention"
    )
    activation_checkpointing: Flag = Field(
        description="true: store only the inputs of the layers and run each layer again in the backward pass: saves"
        " most of the memory of activations, costs a third more arithmetic"
    )
    extrapolate: Flag = Field(
        description="true: `data.block_size` may exceed the positions that the model was made for"
        " (max_position_embeddings), where it computes them; learned positions are never exceeded"
    )


class Model(AnyModel):
    """A pretrained causal language model; safetensors only, no code from the repository."""

    base: Base


class TrainedModel(AnyModel):
    """A LLaMA that is pretrained from scratch on the text of the run on first use."""

    vocab_size: Annotated[int, Field(strict=True, ge=259), Expected("a whole number of at least 259")] = Field(
        description="vocabulary size of its byte-level BPE tokenizer"
    )
    config: Annotated[dict[str, Any], Expected("fields of transformers.LlamaConfig")] = Field(
        description="fields of transformers.LlamaConfig"
    )
    base: BaseRecipe
