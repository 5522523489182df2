"""Messages for errors that the user can fix; other errors keep their traceback."""

import errno
import sys
from typing import NoReturn

from safetensors import SafetensorError

from lightning_langcore.utils.atomic_files import system_error
from lightning_langcore.utils.errors import LangcoreError

USERS = (LangcoreError, OSError, SafetensorError)
"""Errors that the user can fix."""


def has_message(error: Exception) -> bool:
    """Whether a message is enough; otherwise the traceback is shown."""
    return isinstance(error, USERS) or _is_lost_rank(error)


def message_of(error: Exception) -> str:
    """The message of an error; for an error without a message of its own, its class and text."""
    cause = system_error(error)
    if cause is not None and cause.errno in (errno.ENOSPC, errno.EDQUOT):  # the cause names the full disk's file
        return _file_message(cause)
    if isinstance(error, LangcoreError):
        return str(error)
    if _is_lost_rank(error):
        reason = str(error).splitlines()[0].partition(". This is typically")[0]  # gloo adds long speculation
        return (
            f"another rank has ended ({reason}): check its output, perhaps it had too little"
            " memory or a full disk; the same command with the same hydra.run.dir goes on from the last checkpoint"
        )
    return _file_message(error) if isinstance(error, USERS) else f"{type(error).__name__}: {error}"


def _is_lost_rank(error: Exception) -> bool:
    from lightning_langcore.jobs.process.lifecycle import is_lost_rank  # imports torch, which takes 2 s

    return is_lost_rank(error)


def _file_message(error: Exception) -> str:
    reason = str(error).strip() or type(error).__name__
    return (
        f"a file could not be written or read ({reason}): is the disk full? Free some space, or set paths.artifacts and"
        " paths.runs to other folders; complete files are kept"
    )


def refuse(text: str) -> NoReturn:
    """End with a message and exit status 1."""
    sys.exit(f"error: {text}")
