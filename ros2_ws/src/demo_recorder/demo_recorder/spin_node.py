"""How a small node starts, runs and ends: signals are ours, mistakes of the user's end with their remedy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import rclpy
from autofocus_core.errors import EXIT_CODE, AutofocusError
from autofocus_core.signals import ignore_stop, on_stop
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

N = TypeVar("N", bound=Node)


def spin(
    make: Callable[[], N],
    args: list[str] | None,
    finished: Callable[[N], bool] = lambda node: False,
    close: Callable[[N], None] = lambda node: None,
) -> int:
    """Make a node and spin it until SIGINT, SIGTERM or `finished`; exit status 2 for an AutofocusError."""
    stopped: list[int] = []
    on_stop(stopped.append)
    # rclpy's own handlers take the context away while the node still publishes.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node = None
    try:
        node = make()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not stopped and not finished(node):
            executor.spin_once(timeout_sec=0.1)
    except AutofocusError as error:
        print(error, file=sys.stderr)
        return EXIT_CODE
    finally:
        if node is not None:
            close(node)
            node.destroy_node()
        rclpy.try_shutdown()
        ignore_stop()
    return 0
