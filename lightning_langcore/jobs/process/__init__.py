"""The process of a job and its run folder."""
