"""Where text comes from: files, the hub, the phrasebook."""
