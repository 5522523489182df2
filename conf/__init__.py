"""The YAML of lightning-langcore. This file makes the folder a package, so that the wheel includes it."""
