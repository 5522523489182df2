"""The settings of a run as typed, frozen models: one class for each group of the configuration.

The description of a field is the one place that says what the setting means; ``docs/reference/settings.md`` is made
from the descriptions.
"""
