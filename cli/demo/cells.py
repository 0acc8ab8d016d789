"""Cells of processes over real ROS 2: a simulator, a guard and whoever commands, in a domain of their own."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from autofocus_cli.demo.processes import ProcessGroup, own_domain, ros_environment
from autofocus_cli.demo.settings import robot_yaml, task_yaml
from autofocus_core.names import SIM_TRUTH_IMAGE_MARKERS_TOPIC

if TYPE_CHECKING:
    from autofocus_cli.demo.stages import Run

#: A demonstration with everything around it takes 5 s, a deployed rollout at most 10 s.
EPISODE_TIMEOUT_S, ROLLOUT_TIMEOUT_S, START_TIMEOUT_S = 40.0, 30.0, 120.0

#: An operator goes on until this share of the planned demonstrations has succeeded (on a busy machine the guard stops
#: some of them), at most twice the planned number.
MIN_SUCCESS_SHARE = 0.85

OnEvent = Callable[[dict], None]


def node(module: str, **parameters: object) -> list[str]:
    """Command line of a node with its parameters."""
    argv = ["python", "-m", module, "--ros-args"]
    for name, value in parameters.items():
        argv += ["-p", f"{name}:={value}"]
    return argv


def record(run: Run, cell: int, seeds: Sequence[int], spare: Sequence[int], on_event: OnEvent) -> None:
    """Record one demonstration for each seed into the run's episodes folder; of `spare` as many as are needed for
    MIN_SUCCESS_SHARE of `seeds` to have succeeded."""
    robot, task, condition = robot_yaml(), task_yaml(run.settings.task), run.settings.confounder
    with _cell(run, f"record_{cell}", condition) as group:
        operator = node("autofocus_sim.demonstrator_node", robot=robot, task=run.settings.task)
        group.spawn("demonstrator", operator, realtime=True)
        group.spawn("recorder", node("demo_recorder.node", robot=robot, task=task, output=run.paths.episodes,
                                     extra_topics=f"[{SIM_TRUTH_IMAGE_MARKERS_TOPIC}]"))
        argv = ["python", "-m", "autofocus_cli.demo.record_node", "--task", task, "--condition", condition,
                "--seeds", *map(str, seeds), "--spare", *map(str, spare), "--enough",
                str(math.ceil(MIN_SUCCESS_SHARE * len(seeds)))]
        timeout_s = START_TIMEOUT_S + EPISODE_TIMEOUT_S * (len(seeds) + len(spare))
        group.wait(group.spawn("session", argv, on_event), timeout_s, run.stop)


def deploy(run: Run, cell: int, policies: Iterable[tuple[str, int]], first_seed: int, on_event: OnEvent) -> None:
    """Roll out policies (method, training seed) one after the other, each in a policy process of its own."""
    settings = run.settings
    robot, task = robot_yaml(), task_yaml(settings.task)
    cell_of = {condition: name for name, condition in settings.conditions.items()}
    with _cell(run, f"deploy_{cell}", settings.confounder) as group:
        for method, train_seed in policies:
            first = first_seed + 1000 * train_seed
            seeds = range(first, first + settings.deployed_per_seed)
            scenes = [(condition, seed) for condition in reversed(cell_of) for seed in seeds]
            name = f"{method}_seed{train_seed}"
            policy = group.spawn(f"policy_{name}", node("autofocus_policy.node", robot=robot,
                                                        policy=run.paths.policy(method, train_seed)))
            argv = ["python", "-m", "autofocus_cli.demo.deploy_node", "--robot", robot, "--task", task,
                    "--scenes", json.dumps(scenes)]
            if method == "autofocus" and train_seed == settings.train_seeds[0]:
                argv += ["--film", run.paths.run / "pictures"]

            def labelled(event: dict, method: str = method, train_seed: int = train_seed) -> None:
                on_event({**event, "method": method, "train_seed": train_seed, "cell": cell_of[event["condition"]]})

            client = group.spawn(f"deployment_{name}", argv, labelled)
            group.wait(client, START_TIMEOUT_S + ROLLOUT_TIMEOUT_S * len(scenes), run.stop)
            group.end(policy)


def deployment_findings(run: Run, rollouts: list[dict]) -> dict:
    """Rollouts, the policy nodes' histograms added up, the filmstrip, and under what load all this was measured."""
    film = next((r for r in rollouts if "film_times_s" in r), None)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cells = min(run.settings.deployment_cells, len(run.runs()))
    return {
        "rollouts": [{k: v for k, v in r.items() if k not in ("policy", "event", "film_times_s")} for r in rollouts],
        "latency_ms": add_histograms(r["policy"]["latency_histogram"] for r in rollouts),
        "period_ms": add_histograms(r["policy"]["period_histogram"] for r in rollouts),
        "counts": dict(sum((Counter({k: int(v) for k, v in r["policy"].items() if not k.endswith("_histogram")})
                            for r in rollouts), Counter())),
        "filmstrip": {
            "times_s": film["film_times_s"] if film else [],
            "caption": (f"AutoFocus, training seed {film['train_seed']}, {film['cell']} scene {film['seed']}"
                        if film else "No rollout succeeded"),
        },
        "load": f"Measured with {cells} cell{'s' * (cells > 1)} (simulator with rendering, guard, policy node, client) "
                f"running at a time on {cores} cores; load average {os.getloadavg()[0]:.1f} at the end.",
    }


def add_histograms(texts: Iterable[str]) -> dict:
    """The sum of histograms {"bin_ms": width, "counts": {bin: count}} in JSON; all must have the same bins."""
    total: Counter[str] = Counter()
    width = None
    for text in texts:
        histogram: Mapping = json.loads(text)
        if width not in (None, histogram["bin_ms"]):
            raise ValueError(f"histograms with bins of {width} and {histogram['bin_ms']} ms")
        width = histogram["bin_ms"]
        total.update({index: int(count) for index, count in histogram["counts"].items()})
    return {"bin_ms": width, "counts": dict(sorted(total.items(), key=lambda item: int(item[0])))}


@contextmanager
def _cell(run: Run, name: str, condition: str) -> Iterator[ProcessGroup]:
    """Simulator and guard in a new domain; whatever is started beside them ends with them."""
    log_dir = run.paths.logs / name
    with own_domain() as domain_id, ProcessGroup(log_dir, ros_environment(domain_id, log_dir)) as group:
        sim = node("autofocus_sim.node", robot=robot_yaml(), task=run.settings.task, condition=condition)
        group.spawn("sim", sim, realtime=True)
        group.spawn("guard", node("command_guard.node", robot=robot_yaml()))
        yield group
