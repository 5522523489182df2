"""The error that is the user's mistake."""


class LangcoreError(ValueError):
    """A mistake of the user: an invalid setting, argument or file, named with its value and a way out.

    The command line prints it as one line and ends with status 1. Any other ``ValueError`` is a bug and keeps its
    traceback.
    """
