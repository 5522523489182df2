"""A causal language model and its tokenizer: from a config, a folder or the hub."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import find_adapter_config_file

from lightning_langcore.models.parameters import stored_weights
from lightning_langcore.models.safetensors_reader import Weights
from lightning_langcore.utils import hub_probe
from lightning_langcore.utils.errors import LangcoreError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Dtype = Literal["float32", "bfloat16", "float16"] | torch.dtype
"""The type of the weights, by its name or as torch has it."""


def load_model(path: str | Path, dtype: Dtype = "float32", attention: str = "sdpa") -> PreTrainedModel:
    """Load a causal model by hub id or local folder, in train mode.

    Reads safetensors only and runs no code from the repository. By default weights are float32, not the type of the
    checkpoint as in transformers, because a bfloat16 weight does not change at small learning rates.

    Args:
        path: hub id, or a folder saved by ``save_pretrained``.
        dtype: ``float32``, ``bfloat16`` or ``float16``, or the type of torch.
        attention: transformers' ``attn_implementation``.

    Raises:
        LangcoreError: an unknown type; no such folder or hub id; no safetensors weights, or broken or quantized ones; a
            config that transformers does not know; an attention implementation that is not installed.

    Example:
        >>> from lightning_langcore import load_model
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes))
        >>> model.save_pretrained("base")
        >>> loaded = load_model("base")
        >>> loaded.dtype, loaded.training
        (torch.float32, True)
    """
    wanted = check(path, dtype)
    unreachable = hub_probe.why_unreachable("models", path)
    _refuse_adapter(path, unreachable)
    _check_unquantized(path, unreachable)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=wanted,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation=attention,
            output_loading_info=True,
            local_files_only=unreachable is not None,
        )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        _refuse_attention(error, attention)
        raise LangcoreError(
            f"model.path={path}: can't load it ({hub_probe.reason(error, unreachable)}): give a hub id that you can"
            " reach, or a folder with config.json and *.safetensors"
        ) from error
    model, info = loaded
    if info["missing_keys"]:
        raise LangcoreError(
            f"model.path={path}: the checkpoint lacks {sorted(info['missing_keys'])[0]}, which would be random"
        )
    if next(model.parameters()).dtype != wanted:
        raise LangcoreError(f"model.path={path}: transformers did not load it in model.dtype={dtype}")
    return model.train()


def load_config(path: str | Path) -> PreTrainedConfig:
    """The config of a model by hub id or local folder, with or without weights.

    Raises:
        LangcoreError: no config, a config that transformers does not know, or a config of quantized weights.
    """
    check_local(path)
    unreachable = hub_probe.why_unreachable("models", path)
    _refuse_adapter(path, unreachable)
    _check_unquantized(path, unreachable)
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=unreachable is not None)
    except (OSError, ValueError) as error:
        raise LangcoreError(
            f"model.path={path}: can't read its config ({hub_probe.reason(error, unreachable)}): give a folder with"
            " config.json, or a hub id that you can reach"
        ) from error


def model_without_weights(
    config: PreTrainedConfig, dtype: Dtype = "float32", attention: str = "sdpa"
) -> PreTrainedModel:
    """A model with its parameters on the meta device: it has names and shapes but no weights, and can't run.

    Its buffers are materialized, because files of weights don't hold the buffers of the position embeddings.

    Args:
        config: see :func:`load_config`.
        dtype: ``float32``, ``bfloat16`` or ``float16``, or the type of torch.
        attention: transformers' ``attn_implementation``; names and shapes do not depend on it.

    Raises:
        LangcoreError: an architecture that is no causal language model or lacks a package; an attention implementation
            that it does not support.
    """
    try:
        with _parameters_on_meta():
            return AutoModelForCausalLM.from_config(
                config, dtype=as_dtype(dtype), attn_implementation=attention, trust_remote_code=False
            )
    except (ValueError, ImportError) as error:
        _refuse_attention(error, attention)
        raise LangcoreError(
            f"model.path={config.name_or_path}: transformers can't make a causal language model of"
            f" model_type={config.model_type} ({_first_sentence(error)}): give a model that AutoModelForCausalLM loads"
        ) from error


def _refuse_attention(error: Exception, attention: str) -> None:
    """Raise an error that names the setting, if transformers refused the attention implementation."""
    if "attention" in str(error).lower() or "attn_implementation" in str(error):
        raise LangcoreError(
            f"model.attention={attention} is not possible here ({_first_sentence(error)}): set model.attention=eager,"
            " which every model supports, or sdpa"
        ) from error


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split()).partition(". ")[0]


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Modules created inside the block have parameters on the meta device."""
    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and not parameter.is_meta:  # a tied parameter is on the meta device already
            parameter = nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
        register(module, name, parameter)

    nn.Module.register_parameter = register_on_meta  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def load_weights(path: str | Path) -> Weights:
    """The weights of a model on disk by their names in ``save_pretrained``, read one tensor at a time.

    Args:
        path: folder or hub id; a snapshot is downloaded if needed.

    Raises:
        LangcoreError: no such model, or a model whose weights can't be addressed by the names of its files.
    """
    folder = local_folder(path)
    return stored_weights(model_without_weights(load_config(folder), attention="eager"), Weights(folder))


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Store only the inputs of the layers during training, and run each layer again in the backward pass.

    Gradients and parameter names don't change; a step needs about a third more arithmetic.

    Raises:
        LangcoreError: the architecture does not support it.
    """
    if not model.supports_gradient_checkpointing:
        raise LangcoreError(
            f"model.activation_checkpointing=true: {type(model).__name__} does not support it: leave it false"
        )
    # the method is being renamed in transformers; its first argument stays
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model, as it is.

    If it lacks a begin or an end token, the other one is used for both (``data.tokenization.begin_token``). The
    tokenizer itself is not changed: its chat template would render a token that the model was never given, and so
    would the tokenizer that is saved with a trained model.

    Args:
        path: folder, or hub id.

    Raises:
        LangcoreError: no tokenizer, or one with neither a begin nor an end token.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> from transformers import PreTrainedTokenizerFast
        >>> from lightning_langcore import load_tokenizer
        >>> words = Tokenizer(models.WordLevel({"</s>": 0, "cat": 1}, unk_token="</s>"))
        >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>")
        >>> files = tokenizer.save_pretrained("base")
        >>> load_tokenizer("base").eos_token
        '</s>'
    """
    unreachable = hub_probe.why_unreachable("models", path)
    local = unreachable is not None
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=local)
    except (OSError, ValueError) as error:
        raise LangcoreError(
            f"model.path={path}: no tokenizer there ({hub_probe.reason(error, unreachable)})"
        ) from error
    if tokenizer.eos_token_id is None and tokenizer.bos_token_id is None:
        raise LangcoreError(f"model.path={path}: its tokenizer has no end token, which separates documents")
    return tokenizer


def save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Save weights (safetensors), config and tokenizer so that ``AutoModelForCausalLM.from_pretrained`` reads them.

    Args:
        model: the model; its own weights are saved unless ``weights`` is given.
        tokenizer: tokenizer of the model.
        folder: folder, created if needed.
        weights: name -> unsharded tensor, for a sharded model.

    Raises:
        OSError: the folder can't be written, or the disk is full.
    """
    try:
        model.save_pretrained(folder, state_dict=None if weights is None else dict(weights))
        tokenizer.save_pretrained(folder)
    except OSError:
        raise
    except Exception as error:  # safetensors raises its own type of error, tokenizers a bare Exception
        raise OSError(f"{folder} can't be written: {error}") from error


def stop_at(model: PreTrainedModel, tokens: Sequence[int]) -> None:
    """Let the model's generation stop at tokens that it has learnt to end an answer with; in place, for :func:`save`.

    Tokens at which it stopped before are kept after them: a base model whose chat template closes answers with another
    token than its end token would otherwise go on generating after its answer.

    Args:
        model: a model that can generate.
        tokens: token ids; without any, and if generation stops at all of them already, nothing changes.
    """
    config = model.generation_config
    before = config.eos_token_id
    known = [] if before is None else [before] if isinstance(before, int) else list(before)
    if not set(tokens) <= set(known):
        merged = list(dict.fromkeys([*tokens, *known]))
        config.eos_token_id = merged[0] if len(merged) == 1 else merged


def check(path: str | Path, dtype: Dtype) -> torch.dtype:
    """Check type and path before anything is loaded.

    Returns:
        The type as torch has it.

    Raises:
        LangcoreError: an unknown type; see also :func:`check_folder`.
    """
    wanted = as_dtype(dtype)
    check_folder(path)
    return wanted


def as_dtype(dtype: Dtype) -> torch.dtype:
    """The type of torch, from its name or itself.

    Raises:
        LangcoreError: any other type than float32, bfloat16 and float16.
    """
    found = DTYPES.get(dtype) if isinstance(dtype, str) else dtype if dtype in DTYPES.values() else None
    if found is None:
        raise LangcoreError(f"model.dtype={dtype} is none of {', '.join(DTYPES)}")
    return found


def check_folder(path: str | Path) -> None:
    """Check that a local folder holds safetensors; any other path may be a hub id.

    Raises:
        LangcoreError: no such folder, or a folder with other or quantized weights only.
    """
    check_local(path)
    if Path(path).is_dir() and not any(Path(path).glob("*.safetensors")):
        raise LangcoreError(
            f"model.path={path}: no *.safetensors in this folder; pickled weights are not read: load the model once"
            " and call model.save_pretrained(folder)"
        )


def check_local(path: str | Path) -> None:
    """Check that a local folder exists and that its config does not specify quantized weights.

    Raises:
        LangcoreError: no such folder, or quantized weights.
    """
    folder = Path(path)
    if folder.is_dir():
        _refuse_adapter(path, None)
        _check_unquantized(path, None)
    elif folder.is_absolute() or str(path).startswith((".", "~")):
        raise LangcoreError(f"model.path={path}: there is no such folder")


def _refuse_adapter(path: str | Path, unreachable: str | None) -> None:
    try:
        file = find_adapter_config_file(str(path), local_files_only=unreachable is not None)
    except (OSError, ValueError):
        return  # the caller reads config or weights next and reports the error
    if file is None:
        return
    try:
        base = json.loads(Path(file).read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (ValueError, AttributeError):
        base = None
    raise LangcoreError(
        f"model.path={path} is an adapter of {base or 'another model'} (adapter_config.json), not a model: merge it"
        " into that model with PEFT's merge_and_unload(), save the result with save_pretrained and give its folder"
    )


def _check_unquantized(path: str | Path, unreachable: str | None) -> None:
    try:
        fields, _ = PreTrainedConfig.get_config_dict(path, local_files_only=unreachable is not None)
    except (OSError, ValueError):
        return  # the caller reads config or weights next and reports the error
    if fields.get("quantization_config"):
        raise LangcoreError(
            f"model.path={path}: its weights are quantized (quantization_config in its config.json) and can be neither"
            " trained nor kept exactly: give the unquantized model"
        )


def local_folder(path: str | Path) -> Path:
    """Folder of the weights on this machine: the folder itself, or the cached snapshot of a hub id.

    The snapshot is downloaded if needed.

    Raises:
        LangcoreError: the hub can't be reached and the snapshot is not in the cache.
    """
    if Path(path).is_dir():
        return Path(path)
    unreachable = hub_probe.why_unreachable("models", path)
    try:
        patterns = ["*.safetensors", "*.json"]
        return Path(snapshot_download(str(path), allow_patterns=patterns, local_files_only=unreachable is not None))
    except (OSError, ValueError) as error:
        raise LangcoreError(
            f"model.path={path}: its weights can't be fetched ({hub_probe.reason(error, unreachable)})"
        ) from error
