"""How a command says no."""


class Failure(Exception):  # noqa: N818 - what a command ends with
    """A command that cannot do what was asked.

    Attributes:
        code: Exit code: 1 the answer is no, 2 the question was wrong.
    """

    def __init__(self, message: str, *, code: int = 2) -> None:
        super().__init__(message)
        self.code = code
