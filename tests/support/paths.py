"""Where the repository's parts are."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
PACKAGE = ROOT / "lightning_langcore"
