"""Whether the Hugging Face hub can be asked, found out in seconds: its clients wait minutes for each file, or for ever.

``transformers`` and ``huggingface_hub`` put some questions without any time limit, others six times with 60 seconds
each, whatever HF_HUB_ETAG_TIMEOUT says. So one short question is put first.
"""

import time
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants

_FOR_SECONDS = 60  # how long a hub that was silent is not asked again: a run has up to four questions
_silent: dict[str, tuple[float, str]] = {}


def silence(kind: str, name: Path | str) -> str | None:
    """Why the hub says nothing of a model or dataset; ``None`` if it answers, whatever it says, or need not be asked.

    Args:
        kind: ``models`` or ``datasets``.
        name: id on the hub, or a folder on disk.
    """
    if Path(name).exists():
        return None
    if huggingface_hub.is_offline_mode():
        return "HF_HUB_OFFLINE=1 forbids asking the hub"
    endpoint, seconds = constants.ENDPOINT, constants.HF_HUB_ETAG_TIMEOUT
    until, why = _silent.get(endpoint, (0.0, ""))
    if time.monotonic() < until:
        return why
    try:
        huggingface_hub.get_session().head(f"{endpoint}/api/{kind}/{name}", timeout=seconds)
    except Exception as error:  # httpx's or httpx2's, by the version of huggingface_hub
        why = f"{endpoint} does not answer within {seconds} s ({type(error).__name__}; HF_HUB_ETAG_TIMEOUT)"
        _silent[endpoint] = time.monotonic() + _FOR_SECONDS, why
        return why
    return None


def reason(error: Exception, silent: str | None) -> str:
    """What went wrong, in one line: the first of the error's, and that only the cache was looked at where it was so."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if silent is None else f"{line.rstrip('.')}; {silent}, so only the cache was looked at"
