"""The stage "offline": joint error on held-out episodes, and pictures of where the policies look."""

from __future__ import annotations


def work(run, bars) -> dict:
    return {}
