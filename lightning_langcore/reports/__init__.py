"""Reports on any set of runs: the terminal and one HTML page."""
