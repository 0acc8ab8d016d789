"""How a node of this package starts, runs and ends."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TypeVar

import rclpy
from autofocus_core.errors import EXIT_CODE, AutofocusError
from autofocus_core.signals import ignore_stop, on_stop
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

N = TypeVar("N", bound=Node)


def run(make: Callable[[], N], close: Callable[[N], None], args: list[str] | None) -> None:
    """Makes a node, spins it until SIGINT or SIGTERM, closes it; exit status 2 for an AutofocusError.

    Signals are handled here and not by rclpy, which would invalidate its context while the node's own threads publish.
    """
    stop = threading.Event()
    on_stop(lambda _: stop.set())
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node = None
    try:
        node = make()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.2)
    except AutofocusError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_CODE)
    finally:
        if node is not None:
            close(node)
            node.destroy_node()
        rclpy.try_shutdown()
        ignore_stop()


def required(node: Node, name: str) -> str:
    """A string parameter that must be given; raises AutofocusError where it is empty."""
    value = node.get_parameter(name).value
    if not value:
        raise AutofocusError(
            f"node /{node.get_name()}: parameter {name}", "nothing", "a path", f"start it with `-p {name}:=PATH`"
        )
    return value
