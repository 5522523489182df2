"""Sources of text: files, the hub, the phrasebook."""
