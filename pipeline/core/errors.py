"""The one exception a user is meant to see."""


class MienError(Exception):
    """A mistake in the input or the set-up, told in one line: what is wrong, where, and the mend.

    The command line prints the message without a traceback (`--debug` gives it) and exits with `exit_code`:
    1 when the answer is no, 2 when the call was wrong.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
