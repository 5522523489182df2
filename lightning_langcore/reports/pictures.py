"""Pictures for the page, drawn for it or read from run folders."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from lightning_langcore.reports.blocks import Picture


def picture(draw: Callable[[Path], None], description: str) -> Picture:
    """The PNG that ``draw`` writes.

    Args:
        draw: writes the file it is given.
        description: for readers who do not see the picture.

    Raises:
        NothingToDrawError: raised by ``draw``: the runs lack what it shows.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.png"
        draw(file)
        return Picture(description, file.read_bytes())


def picture_if_any(draw: Callable[[Path], None], description: str) -> list[Picture]:
    """The picture in a list, which is empty where the runs lack what it shows."""
    from lightning_langcore.plots.axes import NothingToDrawError

    try:
        return [picture(draw, description)]
    except NothingToDrawError:
        return []
