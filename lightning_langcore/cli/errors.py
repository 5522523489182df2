"""Errors as the user reads them: one sentence for what the user can fix, the traceback for the rest."""

import errno
import sys
from typing import NoReturn

from safetensors import SafetensorError

from lightning_langcore.utils.atomic_files import system_error

USERS = (ValueError, OSError, SafetensorError)
"""What the user can fix; the rest keeps its traceback."""


def has_message(error: Exception) -> bool:
    """Whether a sentence is enough; else the traceback is kept."""
    return isinstance(error, USERS) or _is_lost_rank(error)


def message_of(error: Exception) -> str:
    """The error for the user, who can fix it or will find the traceback in the job's folder."""
    behind = system_error(error)
    if behind is not None and behind.errno in (errno.ENOSPC, errno.EDQUOT):  # not the file that was being copied
        return _of_files(behind)
    if isinstance(error, ValueError):
        return str(error)
    if _is_lost_rank(error):
        reason = str(error).splitlines()[0].partition(". This is typically")[0]  # gloo guesses at length
        return (
            f"another rank has ended ({reason}): look at what it said, perhaps it had too little"
            " memory or a full disk; the same command with the same hydra.run.dir goes on from the last checkpoint"
        )
    return _of_files(error) if isinstance(error, USERS) else f"{type(error).__name__}: {error}"


def _is_lost_rank(error: Exception) -> bool:
    from lightning_langcore.jobs.process.lifecycle import lost_rank  # torch: 2 s that reading files does not need

    return lost_rank(error)


def _of_files(error: Exception) -> str:
    reason = str(error).strip() or type(error).__name__
    return (
        f"a file could not be written or read ({reason}): is the disk full? Free some space, or set paths.artifacts and"
        " paths.runs to other folders; what was written whole is kept"
    )


def refuse(text: str) -> NoReturn:
    """End with a message and exit status 1."""
    sys.exit(f"error: {text}")
