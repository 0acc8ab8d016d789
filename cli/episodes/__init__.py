"""`autofocus episodes VERB PATH`: what was recorded, whether it can be relied on, and what to do where not."""

from autofocus_cli.episodes.command import main

__all__ = ["main"]
