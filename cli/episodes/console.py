"""How the verbs of `autofocus episodes` print."""

from __future__ import annotations

from rich.console import Console

GRADE_COLOURS = {"good": "green", "ok": "green", "usable": "yellow", "bad": "red", "BAD": "red", "unknown": "dim"}
#: Width of tables that go into a file or a pipe.
PLAIN_WIDTH = 200


def make_console() -> Console:
    """Standard output; as wide as tables want where it is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def say(console: Console, text: str) -> None:
    """A line of text with rich's markup, neither wrapped nor coloured on its own."""
    console.print(text, highlight=False, soft_wrap=True)
