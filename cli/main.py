"""`autofocus VERB ...`: one command that gathers the verbs. Each verb's code lives in its own package."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass

from autofocus_core.errors import EXIT_CODE, AutofocusError

#: Exit status after Ctrl-C: 128 + SIGINT, as shells have it.
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Verb:
    """Where a verb lives (`module:function`, called with its argument list) and its line in the help."""

    target: str
    help: str

    def load(self) -> Callable[[list[str]], int | None]:
        """Import the verb's function; only the verb that runs is ever imported."""
        module_name, function = self.target.split(":")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None:
                raise
            raise AutofocusError(
                f"python package {error.name!r}, needed by {module_name}", "not installed",
                "every package of this repository and its requirements in one environment",
                "run `make setup` and use .venv/bin/autofocus, or `pip install` the missing package",
            ) from error
        return getattr(module, function)


VERBS = {
    "record": Verb("demo_recorder.console_node:main", "record demonstrations, with a screen in the terminal"),
    "teleop": Verb("autofocus_cli.teleop:main", "move the robot by leader arm, gamepad or keyboard, through the guard"),
    "episodes": Verb("autofocus_cli.episodes:main", "list, show, check, recover and trim recorded episodes"),
    "annotate": Verb("saliency_server.annotate:main", "find what matters in recorded episodes"),
    "review": Verb("saliency_server.review.command:main", "look at annotated episodes in a browser and correct them"),
    "train": Verb("autofocus_training.train:main", "train a policy on annotated episodes"),
    "plot": Verb("autofocus_training.plot:main", "draw runs' training curves, or where their policies look"),
    "export": Verb("autofocus_training.export:main", "write a policy file (TorchScript) from a checkpoint"),
    "export-lerobot": Verb("autofocus_training.lerobot:main", "write episodes and saliency maps as a LeRobot dataset"),
    "evaluate": Verb("autofocus_policy.offline:main", "compare a policy with recorded episodes, offline"),
    "rollout": Verb("autofocus_cli.rollout:main", "run a policy on the simulated arm, in this process"),
    "demo": Verb("autofocus_cli.demo.command:main", "the whole way on the simulated arm, with a report"),
    "doctor": Verb("autofocus_cli.doctor:main", "check this machine: ROS 2, DDS, rendering, disk, versions"),
    "results": Verb("autofocus_cli.results:main", "print the measured figures in benchmarks/results"),
}


def usage() -> str:
    """The overview that `autofocus` and `autofocus --help` print."""
    lines = ["usage: autofocus VERB [options]", "", "verbs:"]
    lines += [f"  {name:<14} {verb.help}" for name, verb in VERBS.items()]
    return "\n".join([*lines, "", "`autofocus VERB --help` tells a verb's options."])


def run(argv: list[str]) -> int:
    """Run one verb; its exit status. Raises AutofocusError for an unknown verb and whatever the verb raises."""
    if not argv:
        print(usage(), file=sys.stderr)
        return EXIT_CODE
    name, *rest = argv
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name not in VERBS:
        raise AutofocusError("autofocus", f"verb {name!r}", ", ".join(VERBS), "`autofocus --help` lists the verbs")
    return VERBS[name].load()(rest) or 0


def main() -> int:
    """Entry point. A problem its reader can mend goes to stderr with exit 2; what is a bug stays a traceback."""
    try:
        return run(sys.argv[1:])
    except AutofocusError as error:
        print(f"autofocus: {error}", file=sys.stderr)
        return EXIT_CODE
    except KeyboardInterrupt:
        print("autofocus: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # `autofocus episodes list | head`: the reader has gone, nothing to report
        return 1


if __name__ == "__main__":
    sys.exit(main())
