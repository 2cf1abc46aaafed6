"""The one kind of error that is the user's to mend."""


class UserError(ValueError):
    """Bad input: one sentence that names the value and the remedy.

    The command line prints the sentence on standard error and exits with code 2, without a traceback. Anything else
    that escapes is a defect of the project and keeps its traceback.
    """
