"""The one error that a person is meant to read."""

from __future__ import annotations

import sys
from collections.abc import Callable


class AutofocusError(Exception):
    """A problem that its reader can mend: says where, what was found, what is allowed, and what to do.

    Command-line entry points catch this and nothing else, print it and exit with :data:`EXIT_CODE`.
    """

    def __init__(self, where: str, got: str, allowed: str, fix: str) -> None:
        super().__init__(where, got, allowed, fix)
        self.where = where
        self.got = got
        self.allowed = allowed
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.where}\n  got:     {self.got}\n  allowed: {self.allowed}\n  fix:     {self.fix}"


#: Exit status of a command that ended with an :class:`AutofocusError`.
EXIT_CODE = 2


def exit_status(command: Callable[[], int]) -> int:
    """Run a command; its exit status, or EXIT_CODE with the message on stderr where it raises AutofocusError."""
    try:
        return command()
    except AutofocusError as error:
        print(error, file=sys.stderr)
        return EXIT_CODE
