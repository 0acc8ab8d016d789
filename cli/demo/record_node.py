"""Leads one cell through demonstrations, as an operator would through a recording session; prints an event for each.

For every seed: disarm, new scene, arm, start the recorder, let the demonstrator do it, note the outcome, stop.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from autofocus_cli.demo.cell_client_node import LATCHED, SETTLE_S, CellClient, emit, run_client
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import load_task
from std_msgs.msg import String
from std_srvs.srv import SetBool

#: Beyond the demonstrator's own timeout: it always answers, unless it hangs.
DEMONSTRATION_TIMEOUT_S = 25.0


class Session(CellClient):
    """Demonstrations of one task in this client's domain."""

    def __init__(self, task: str, condition: str) -> None:
        super().__init__("demo_session")
        self.task, self.condition = task, condition
        self.done: dict = {}
        self.node.create_subscription(String, "/demonstrator/done", self._on_done, LATCHED)

    def _on_done(self, msg: String) -> None:
        self.done = json.loads(msg.data)

    def demonstrate(self, seed: int) -> dict:
        """One recorded demonstration: where the episode lies, its outcome, why it ended, how long it took."""
        self.trigger("/command_guard/disarm")
        self.reset_cell(self.task, self.condition, seed)
        self.set_parameters("/demonstrator", task=self.task, seed=seed)
        self.rest(SETTLE_S)
        self.trigger_when_ready("/command_guard/arm")
        self.trigger_when_ready("/demo_recorder/start")
        run = json.loads(self.trigger_when_ready("/demonstrator/run"))["run"]
        if not self.spin_until(lambda: self.done.get("run") == run, DEMONSTRATION_TIMEOUT_S):
            raise AutofocusError("/demonstrator/done", f"nothing for run {run} in {DEMONSTRATION_TIMEOUT_S:g} s",
                                 "an end of the run", "look at the log of the demonstrator")
        success = bool(self.done["success"])
        self.call("/demo_recorder/outcome", SetBool, SetBool.Request(data=success))
        path = self.trigger("/demo_recorder/stop")
        return {"seed": seed, "path": path, "outcome": "success" if success else "failure",
                "reason": self.done["reason"], "duration_s": self.done["duration_s"]}


def main() -> int:
    """`python -m autofocus_cli.demo.record_node --task T --condition lamp --seeds 0 2 4`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--condition", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--spare", type=int, nargs="*", default=[], help="more seeds, while successes are too few")
    parser.add_argument("--enough", type=int, default=0, help="successes that are enough to leave the spare seeds out")
    args = parser.parse_args()

    def work() -> None:
        session = Session(load_task(args.task).name, args.condition)
        successes = 0
        for number, seed in enumerate([*args.seeds, *args.spare]):
            if number >= len(args.seeds) and successes >= args.enough:
                break
            episode = session.demonstrate(seed)
            successes += episode["outcome"] == "success"
            emit(event="episode", **episode)

    return run_client(work)


if __name__ == "__main__":
    sys.exit(main())
