"""Where the parts of the screen stand, and the widget that shows lines of the view."""

from __future__ import annotations

from collections.abc import Sequence

from textual.widgets import Static

from demo_recorder.screen.paint import COLOURS, MONOCHROME, painted
from demo_recorder.screen.parts import Line

STYLE = """
Screen { layout: vertical; overflow: hidden; }
Block { height: auto; width: 100%; text-wrap: nowrap; text-overflow: clip; }
#messages { height: auto; scrollbar-size-vertical: 1; }
#footer { dock: bottom; }
ModalScreen { align: center middle; background: transparent; }
.box { width: auto; max-width: 96%; height: auto; max-height: 96%; border: round ansi_default; padding: 0 1; }
.box.warn { border: heavy ansi_red; padding: 1 2; }
.box Static { width: auto; }
.box.full, .box.full Static { width: 100%; }
.box.full { height: 96%; }
.box.full .head { height: auto; text-style: bold; }
Note { align: center bottom; }
Note .box, Note .box Static { width: 100%; max-width: 100%; }
Note Input { width: 100%; }
"""


class Block(Static):
    """Lines of the view, painted again only where they are not those that are shown."""

    def __init__(self, id: str) -> None:
        super().__init__("", id=id)
        self.lines: Sequence[Line] = ()

    def show(self, lines: Sequence[Line]) -> None:
        """Show these lines."""
        if lines != self.lines:
            layout = len(lines) != len(self.lines)
            self.lines = lines
            self.update(painted(lines, MONOCHROME if self.app.no_color else COLOURS), layout=layout)

    @property
    def text(self) -> str:
        """What is shown, without its tones."""
        return "\n".join("".join(piece.text for piece in row) for row in self.lines)
