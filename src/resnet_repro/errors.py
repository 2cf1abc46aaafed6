"""The one kind of error that is the user's to mend, and any error in a line."""


class UserError(ValueError):
    """Bad input: one sentence that names the value and the remedy.

    The command line prints the sentence on standard error and exits with code 2, without a traceback. Anything else
    that escapes is a defect of the project and keeps its traceback.
    """


def in_a_line(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
