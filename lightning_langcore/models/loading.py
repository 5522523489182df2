"""A causal language model and its tokenizer: from a config, a folder or the hub."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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

from lightning_langcore.utils import hub_probe

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(path: str | Path, dtype: str = "float32", attention: str = "sdpa") -> PreTrainedModel:
    """Load a causal model by hub id or local folder, in train mode.

    Safetensors only and no code from the repository. transformers would load in the checkpoint's own type; here the
    weights are float32 unless told, for a bfloat16 weight does not move at small learning rates.

    Args:
        path: hub id, or a folder saved by ``save_pretrained``.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        attention: transformers' ``attn_implementation``.

    Raises:
        ValueError: an unknown type; no such folder or hub id; no safetensors weights, or broken or quantized ones; a
            config that transformers does not know; an attention that needs what is not there.
    """
    check(path, dtype)
    silent = hub_probe.silence("models", path)
    _check_unquantized(path, silent)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=DTYPES[dtype],
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation=attention,
            output_loading_info=True,
            local_files_only=silent is not None,
        )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise ValueError(
            f"model.path={path}: can't load it ({hub_probe.reason(error, silent)}): give a hub id that you can"
            " reach, or a folder with config.json and *.safetensors"
        ) from error
    model, info = loaded
    if info["missing_keys"]:
        raise ValueError(
            f"model.path={path}: the checkpoint lacks {sorted(info['missing_keys'])[0]}, which would be random"
        )
    if next(model.parameters()).dtype != DTYPES[dtype]:
        raise ValueError(f"model.path={path}: transformers did not load it in model.dtype={dtype}")
    return model.train()


def load_config(path: str | Path) -> PreTrainedConfig:
    """The config of a model by hub id or local folder; no weights need be there.

    Raises:
        ValueError: there is none, one that transformers does not know, or one of quantized weights.
    """
    check_local(path)
    silent = hub_probe.silence("models", path)
    _check_unquantized(path, silent)
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=silent is not None)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"model.path={path}: can't read its config ({hub_probe.reason(error, silent)}): give a folder with"
            " config.json, or a hub id that you can reach"
        ) from error


def model_without_weights(config: PreTrainedConfig, dtype: str = "float32", attention: str = "sdpa") -> PreTrainedModel:
    """A model with its parameters on the meta device: names and shapes, but no memory; it can't run.

    Its buffers are there as ever, for no file holds those of the positions.

    Args:
        config: see :func:`load_config`.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        attention: transformers' ``attn_implementation``.
    """
    with _parameters_on_meta():
        return AutoModelForCausalLM.from_config(
            config, dtype=DTYPES[dtype], attn_implementation=attention, trust_remote_code=False
        )


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Modules made inside have parameters without memory."""
    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and not parameter.is_meta:  # a tied one is there already
            parameter = nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
        register(module, name, parameter)

    nn.Module.register_parameter = register_on_meta  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Hold only the inputs of the layers in training, and run each layer again when its gradients are due.

    Gradients and parameter names stay as they are; a step has about a third more arithmetic.

    Raises:
        ValueError: the architecture does not support it.
    """
    if not model.supports_gradient_checkpointing:
        raise ValueError(
            f"model.activation_checkpointing=true: {type(model).__name__} does not support it: leave it false"
        )
    # transformers renames the method; the first argument stays
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer beside a model; a begin or end token that it lacks is taken from the other.

    Raises:
        ValueError: there is none, or it has neither a begin nor an end token.
    """
    silent = hub_probe.silence("models", path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=silent is not None)
    except (OSError, ValueError) as error:
        raise ValueError(f"model.path={path}: no tokenizer there ({hub_probe.reason(error, silent)})") from error
    if tokenizer.eos_token_id is None:
        tokenizer.eos_token = tokenizer.bos_token
    if tokenizer.eos_token_id is None:
        raise ValueError(f"model.path={path}: its tokenizer has no end token, which separates documents")
    if tokenizer.bos_token_id is None:
        tokenizer.bos_token = tokenizer.eos_token
    return tokenizer


def save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Save weights (safetensors), config and tokenizer so that ``AutoModelForCausalLM.from_pretrained`` reads them.

    Args:
        model: the weights too, unless they are given.
        tokenizer: see above.
        folder: made if needed.
        weights: of a sharded model: its whole state.

    Raises:
        OSError: the folder can't be written, or the disk is full.
    """
    try:
        model.save_pretrained(folder, state_dict=None if weights is None else dict(weights))
        tokenizer.save_pretrained(folder)
    except OSError:
        raise
    except Exception as error:  # safetensors and tokenizers have errors of their own, the second's without a type
        raise OSError(f"{folder} can't be written: {error}") from error


def check(path: str | Path, dtype: str) -> None:
    """Refuse what can't be loaded, before anything is.

    Raises:
        ValueError: an unknown type; see :func:`check_folder`.
    """
    if dtype not in DTYPES:
        raise ValueError(f"model.dtype={dtype!r} is none of {', '.join(DTYPES)}")
    check_folder(path)


def check_folder(path: str | Path) -> None:
    """Refuse a local folder without safetensors; anything else may be a hub id.

    Raises:
        ValueError: no such folder, or one with other or quantized weights only.
    """
    check_local(path)
    if Path(path).is_dir() and not any(Path(path).glob("*.safetensors")):
        raise ValueError(
            f"model.path={path}: no *.safetensors in this folder; pickled weights are not read: load the model once"
            " and call model.save_pretrained(folder)"
        )


def check_local(path: str | Path) -> None:
    """Refuse a local folder that is not there, or whose config says that its weights are quantized.

    Raises:
        ValueError: it is so.
    """
    folder = Path(path)
    if folder.is_dir():
        _check_unquantized(path, None)
    elif folder.is_absolute() or str(path).startswith((".", "~")):
        raise ValueError(f"model.path={path}: there is no such folder")


def _check_unquantized(path: str | Path, silent: str | None) -> None:
    try:
        fields, _ = PreTrainedConfig.get_config_dict(path, local_files_only=silent is not None)
    except (OSError, ValueError):
        return  # what reads the config or the weights next has a sentence for it
    if fields.get("quantization_config"):
        raise ValueError(
            f"model.path={path}: its weights are quantized (quantization_config in its config.json) and can be neither"
            " trained nor kept exactly: give the unquantized model"
        )


def local_folder(path: str | Path) -> Path:
    """Where the weights lie on this machine: the folder itself, or the cache's snapshot of a hub id, fetched if needed.

    Raises:
        ValueError: the hub can't be reached and the cache does not have it.
    """
    if Path(path).is_dir():
        return Path(path)
    silent = hub_probe.silence("models", path)
    try:
        patterns = ["*.safetensors", "*.json"]
        return Path(snapshot_download(str(path), allow_patterns=patterns, local_files_only=silent is not None))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"model.path={path}: its weights can't be fetched ({hub_probe.reason(error, silent)})"
        ) from error
