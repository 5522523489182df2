"""Pictures that nobody looks at."""

import base64
from pathlib import Path

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def write_pixel(figure, path, **_):
    """In place of ``Figure.savefig``, which takes as long as all else of a small run."""
    Path(path).write_bytes(PIXEL)
