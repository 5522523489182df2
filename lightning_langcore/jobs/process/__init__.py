"""The process a job runs in, and the folder it writes."""
