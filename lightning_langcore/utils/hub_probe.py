"""Probe whether the Hugging Face hub can be reached, in seconds: its clients wait minutes for each file, or forever.

``transformers`` and ``huggingface_hub`` send some requests without a timeout, and others six times with a timeout of 60
seconds each, regardless of HF_HUB_ETAG_TIMEOUT. Therefore one short request is sent first.
"""

import time
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants

_RETRY_SECONDS = 60  # time until an unreachable hub is probed again: a run probes it up to four times
_unreachable: dict[str, tuple[float, str]] = {}


def why_unreachable(kind: str, name: Path | str) -> str | None:
    """Reason why the hub does not answer a request for a model or dataset.

    Args:
        kind: ``models`` or ``datasets``.
        name: id on the hub, or a folder on disk.

    Returns:
        ``None`` if the hub answers, even with an error, or if ``name`` is a folder on disk.
    """
    if Path(name).exists():
        return None
    if huggingface_hub.is_offline_mode():
        return "HF_HUB_OFFLINE=1 forbids requests to the hub"
    endpoint, seconds = constants.ENDPOINT, constants.HF_HUB_ETAG_TIMEOUT
    until, why = _unreachable.get(endpoint, (0.0, ""))
    if time.monotonic() < until:
        return why
    try:
        huggingface_hub.get_session().head(f"{endpoint}/api/{kind}/{name}", timeout=seconds)
    except Exception as error:  # of httpx or httpx2, depending on the version of huggingface_hub
        why = f"{endpoint} does not answer within {seconds} s ({type(error).__name__}; HF_HUB_ETAG_TIMEOUT)"
        _unreachable[endpoint] = time.monotonic() + _RETRY_SECONDS, why
        return why
    return None


def reason(error: Exception, unreachable: str | None) -> str:
    """First line of an error message; if the hub was unreachable, with the note that only the cache was searched.

    Args:
        error: the error.
        unreachable: result of :func:`why_unreachable`.
    """
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if unreachable is None else f"{line.rstrip('.')}; {unreachable}, so only the cache was searched"
