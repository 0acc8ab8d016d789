"""`autofocus review FOLDER`: serves the page on loopback until Ctrl-C."""

from __future__ import annotations

import argparse
import secrets
import socket
import webbrowser
from collections.abc import Sequence

from autofocus_core.errors import AutofocusError
from autofocus_core.schema import load_robot

from saliency_server.models.spec import need

LOOPBACK = "127.0.0.1"
PORT = 8765
TOKEN_BYTES = 24
MOST_CONNECTIONS = 64


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the verb. Raises AutofocusError for a folder without episodes, a taken port, a missing extra."""
    args = _parser().parse_args(argv)
    for module in ("starlette", "uvicorn"):
        need(module, "review")
    import uvicorn

    from saliency_server.review.catalogue import Catalogue
    from saliency_server.review.server import make_app

    robot = load_robot(args.robot) if args.robot else None
    catalogue = Catalogue(args.folder)
    listening = listen(args.port)
    port = listening.getsockname()[1]
    token = secrets.token_urlsafe(TOKEN_BYTES)
    config = uvicorn.Config(
        make_app(catalogue, robot, port, token), log_level="warning", access_log=False, lifespan="off", ws="none",
        http="h11", proxy_headers=False, server_header=False, timeout_keep_alive=10, timeout_graceful_shutdown=2,
        limit_concurrency=MOST_CONNECTIONS,
    )  # fmt: skip
    address = f"http://{LOOPBACK}:{port}/?token={token}"
    print(f"{len(catalogue.keys)} episodes in {catalogue.root}\nreview them at {address}\nCtrl-C ends it", flush=True)
    if args.open:
        webbrowser.open(address)
    uvicorn.Server(config).run(sockets=[listening])
    return 0


def listen(port: int) -> socket.socket:
    """A listening socket on loopback, and nowhere else. Raises AutofocusError where the port is taken."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((LOOPBACK, port))
        listening.listen(MOST_CONNECTIONS)
    except (OSError, OverflowError) as error:
        listening.close()
        raise AutofocusError(
            "autofocus review: --port", f"{port}: {error}", "a free port of this machine", "give another, or 0 for any"
        ) from error
    return listening


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="autofocus review",
        description="Look at annotated episodes in a browser: accept or reject them, drop objects, correct boxes. "
        "Decisions go to EPISODE.review.json and are honoured by `autofocus train`.",
    )
    parser.add_argument("folder", metavar="FOLDER", help="folder of episodes, or one episode")
    parser.add_argument("--robot", help="robot YAML, where a bag has several cameras that cannot be told apart")
    parser.add_argument(
        "--port", type=int, default=PORT, help="on 127.0.0.1, 0 for any that is free (default: %(default)s)"
    )
    parser.add_argument("--open", action="store_true", help="open the page in this machine's browser")
    return parser
