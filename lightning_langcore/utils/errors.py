"""The error that is the user's mistake."""


class LangcoreError(ValueError):
    """A mistake of the user: an invalid setting, argument or file, named with its value and a way out.

    The command line prints it as one line and ends with status 1. Any other ``ValueError`` is a bug and keeps its
    traceback.

    Example:
        >>> from lightning_langcore import LangcoreError, SelectionSpec
        >>> try:
        ...     SelectionSpec(fraction=2.0, end="lowest")
        ... except LangcoreError as error:
        ...     print(error)
        region.fraction=2.0 must be a number in (0, 1], such as 0.05 for 5 %
    """
