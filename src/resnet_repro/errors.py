"""Errors caused by user input, and one-line descriptions of errors."""


class UserError(ValueError):
    """Invalid input. The message is one sentence that names the value and what is expected.

    The command line prints the message on standard error and exits with code 2, without a traceback. Any other exception
    that reaches the user is a bug of the project and keeps its traceback.
    """


def os_reason(error: OSError) -> str:
    """The system's words for an error, or the error's message: numpy's errors of writing have only that."""
    return error.strerror or str(error)


def in_a_line(error: BaseException) -> str:
    """Describe an error by its type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
