"""How long a text and how large a vocabulary a model can take."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_POSITIONS = re.compile(r"(^|\.)(wpe|\w*position\w*)(\.|$)")  # wpe of GPT-2, embed_positions of OPT
_SCALED = {"linear", "dynamic", "yarn"}  # other kinds state the scaled length in max_position_embeddings


class Positions(NamedTuple):
    """The number of positions of a model.

    Attributes:
        length: tokens of context that the model was made for, scaled positions included.
        is_table: whether the positions are rows of a table, beyond which the model can't run.
    """

    length: int
    is_table: bool


def positions(model: PreTrainedModel) -> Positions | None:
    """The number of positions of a language model, which needs no weights; ``None``: its config states none."""
    config = model.config.get_text_config()
    count = getattr(config, "max_position_embeddings", None)
    if not isinstance(count, int):
        return None
    decoder = model.get_decoder() or model
    tables = (*decoder.named_parameters(), *decoder.named_buffers())
    if any(_POSITIONS.search(name) and tensor.ndim == 2 and len(tensor) >= count for name, tensor in tables):
        return Positions(count, True)
    return Positions(max([count, *(round(length) for length in _scaled(config, count))]), False)


def _scaled(config: PreTrainedConfig, count: int) -> Iterator[float]:
    """The lengths that the scaling of rotary positions reaches; Gemma 3 has one for each kind of layer."""
    given = getattr(config, "rope_parameters", None)
    nodes = [given, *given.values()] if isinstance(given, Mapping) else []
    for node in nodes:
        if isinstance(node, Mapping) and node.get("rope_type") in _SCALED and node.get("factor"):
            yield node["factor"] * (node.get("original_max_position_embeddings") or count)


def vocabulary_rows(model: PreTrainedModel) -> int:
    """The number of tokens that the model has an embedding for."""
    embedding: Any = model.get_input_embeddings()
    return len(embedding.weight)


def largest_token(tokenizer: PreTrainedTokenizerBase) -> tuple[int, str]:
    """The largest id that text, begin and end tokens or the chat template can give, and its token.

    Special tokens that none of these use, such as that of an image, may have no embedding.
    """
    template = str(tokenizer.chat_template or "")
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    used = {tokenizer.bos_token, tokenizer.eos_token}
    known = tokenizer.get_vocab().items()
    return max((number, token) for token, number in known if token not in special or token in used or token in template)
