"""The stages of the demo, in order. Each one runs processes, writes its artefacts and leaves stages/<name>.json."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from autofocus_cli.demo import cells, offline, quality, report, summary
from autofocus_cli.demo.machine import describe_commit, describe_machine, now_utc
from autofocus_cli.demo.processes import ProcessGroup, in_parallel
from autofocus_cli.demo.settings import (
    CELLS,
    DEMONSTRATION_SEED,
    DEPLOYMENT_SEED,
    EVALUATION_SEED,
    METHODS,
    TITLES,
    DemoSettings,
    Paths,
    robot_yaml,
    task_yaml,
)
from autofocus_cli.demo.ui import Bar, Bars, Ui
from autofocus_cli.rollout import Job, run_jobs
from autofocus_core.episode import load_episode
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import Robot, Task, load_robot, load_task

TRAINING_CONFIG = "demo"
#: `autofocus train --set method=...` of each policy.
TRAINING_METHODS = {"bc": "none", "autofocus": "gated"}
STAGE_TIMEOUT_S = 1800.0


@dataclass
class Run:
    """One run of the demo: what it does, where, and what the stages found so far."""

    settings: DemoSettings
    paths: Paths
    ui: Ui
    found: dict[str, dict] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    robot: Robot = field(init=False)
    task: Task = field(init=False)

    def __post_init__(self) -> None:
        self.robot = load_robot(robot_yaml())
        self.task = load_task(task_yaml(self.settings.task))

    def perform(self, stage: Stage) -> None:
        """Do one stage and keep what it found, unless an earlier run of the same settings did it already."""
        if stage.name in self.found:
            self.ui.line(f"== {stage.name}: done earlier")
            return
        with self.ui.stage(stage.name, stage.title(self)) as bars:
            found = stage.work(self, bars)
        self.found[stage.name] = {**found, "wall_s": self.ui.wall_s[stage.name]}
        path = self.paths.stages / f"{stage.name}.json"
        path.write_text(json.dumps(self.found[stage.name], indent=1) + "\n")

    def adopt_earlier_stages(self) -> None:
        """Take over finished stages of the same settings, up to the first that is missing."""
        for stage in ORDER[:-1]:
            path = self.paths.stages / f"{stage.name}.json"
            if not path.exists():
                return
            found = json.loads(path.read_text())
            if stage.name == "setup" and found["settings"] != self._settings_json():
                raise AutofocusError(f"run folder {self.paths.run}", "a run with other settings",
                                     "the same options as before", "leave out --resume, or give another --out")
            self.found[stage.name] = found
            self.ui.wall_s[stage.name] = found["wall_s"]

    def _settings_json(self) -> dict:
        # Through JSON and back, as it is read from an earlier run: tuples become lists.
        return json.loads(json.dumps({
            **self.settings.to_json(), "instruction": self.task.instruction, "objects": self.task.objects,
            "control_rate_hz": self.robot.control_rate_hz, "timeout_s": self.task.timeout_s,
            "training_config": TRAINING_CONFIG, "training_methods": TRAINING_METHODS,
        }))

    def runs(self) -> list[tuple[str, int]]:
        """(method, training seed) of every policy."""
        return [(method, seed) for seed in self.settings.train_seeds for method in METHODS]

    def environment(self, threads: int = 1) -> dict[str, str]:
        """For processes without ROS."""
        return {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1",
                "MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl")}


@dataclass(frozen=True, slots=True)
class Stage:
    """A name, a line for people (made from the run), and the work."""

    name: str
    title: Callable[[Run], str]
    work: Callable[[Run, Bars], dict]


def setup(run: Run, bars: Bars) -> dict:
    """What is run, on what."""
    for folder in (run.paths.episodes, run.paths.logs, run.paths.policies):
        folder.mkdir(parents=True, exist_ok=True)
    found = {"settings": run._settings_json(), "commit": describe_commit(Path(__file__).parent), "date": now_utc(),
             "machine": describe_machine()}
    machine = found["machine"]
    run.ui.line(f"  commit {found['commit']}, {machine['cores']} cores ({machine['processor']}), load "
                f"{machine['load_at_start']}; processes log to {run.paths.logs}")
    return found


def record(run: Run, bars: Bars) -> dict:
    """All demonstrations, in several cells at a time, each with a simulator, guard, demonstrator and recorder."""
    settings = run.settings
    seeds = range(DEMONSTRATION_SEED, DEMONSTRATION_SEED + settings.demos)
    bar = bars.add("demonstrations", settings.demos)
    episodes: list[dict] = []
    lock = threading.Lock()

    def on_event(event: dict) -> None:
        if event.get("event") == "episode":
            with lock:
                episodes.append(event)
                failed = sum(e["outcome"] == "failure" for e in episodes)
                bar.set(len(episodes), f"{failed} failed")

    spare = range(seeds.stop, seeds.stop + settings.demos)
    cell_count = settings.recording_cells
    in_parallel([lambda i=i: cells.record(run, i, seeds[i::cell_count], spare[i::cell_count], on_event)
                 for i in range(cell_count)], run.stop)
    episodes.sort(key=lambda episode: episode["seed"])
    return {"episodes": episodes}


def annotate(run: Run, bars: Bars) -> dict:
    """Objects from the instruction; then how good the boxes are, against the simulator's truth."""
    episodes = [Path(episode["path"]) for episode in run.found["record"]["episodes"]]
    bar = bars.add("episodes", len(episodes))
    argv = ["python", "-m", "autofocus_cli.main", "annotate", *episodes, "--robot", robot_yaml(), "--task",
            task_yaml(run.settings.task), "--workers", str(run.settings.workers), "--quiet"]
    with ProcessGroup(run.paths.logs, run.environment()) as group, watched(
            lambda: sum(path.with_name(path.name + ".annotation").is_dir() for path in episodes), bar.set):
        group.wait(group.spawn("annotate", argv), STAGE_TIMEOUT_S)
    return quality.measure(episodes, run.task.cameras[0])


def train(run: Run, bars: Bars) -> dict:
    """One training for each method and seed, two at a time, on one thread each."""
    successes = [e["path"] for e in run.found["record"]["episodes"]
                 if e["outcome"] == "success" and load_episode(e["path"]).verdict.grade != "bad"]
    holdout = run.settings.holdout
    if len(successes) <= holdout:
        raise AutofocusError("training", f"{len(successes)} successful and well recorded demonstrations",
                             f"more than {holdout}", "look at the recorder's and the demonstrator's logs, and at "
                             f"`autofocus episodes list {run.paths.episodes}`")
    chosen, held_out = successes[:-holdout], successes[-holdout:]

    def one(method: str, seed: int) -> dict:
        bar = all_bars[method, seed]
        with ProcessGroup(run.paths.logs, run.environment()) as group:
            process = group.spawn(f"train_{method}_seed{seed}", train_argv(run, method, seed, chosen),
                                  lambda event: on_step(bar, event))
            group.wait(process, STAGE_TIMEOUT_S)
        bar.set(bar.total)
        return {"method": method, "seed": seed}

    all_bars = {(method, seed): bars.add(f"{TITLES[method]}, seed {seed}", run.settings.steps)
                for method, seed in run.runs()}
    trained = in_parallel([lambda m=m, s=s: one(m, s) for m, s in run.runs()], run.stop, run.settings.workers)
    return {"runs": trained, "episodes": chosen, "held_out": held_out}


def on_step(bar: Bar, event: dict) -> None:
    """Move a training's bar by one of its progress lines."""
    if "step" in event:
        bar.set(event["step"], f"loss {event['loss']:.3f}")


def train_argv(run: Run, method: str, seed: int, episodes: Iterable[str]) -> list[str | Path]:
    """The command line of one training."""
    return ["python", "-m", "autofocus_cli.main", "train", *episodes, "--robot", robot_yaml(),
            "--task", task_yaml(run.settings.task), "--config", TRAINING_CONFIG,
            "--out", run.paths.training(method, seed), "--progress-json",
            "--method", TRAINING_METHODS[method], "--seed", str(seed),
            "--set", f"steps={run.settings.steps}", "held_out_episodes=0"]


def export(run: Run, bars: Bars) -> dict:
    """Policy files, each compared with its checkpoint."""
    bar = bars.add("policy files", len(run.runs()))

    def one(method: str, seed: int) -> dict:
        path = run.paths.policy(method, seed)
        with ProcessGroup(run.paths.logs, run.environment()) as group:
            argv = ["python", "-m", "autofocus_cli.main", "export", run.paths.training(method, seed), "--out", path]
            group.wait(group.spawn(f"export_{method}_seed{seed}", argv), STAGE_TIMEOUT_S)
        bar.advance()
        return {"method": method, "seed": seed, "path": str(path)}

    works = [lambda m=m, s=s: one(m, s) for m, s in run.runs()]
    return {"policies": in_parallel(works, run.stop, run.settings.workers)}


def evaluate(run: Run, bars: Bars) -> dict:
    """Many rollouts of every policy in this machine's own time; the same scenes for all policies."""
    settings = run.settings
    jobs: list[Job] = []
    labels: list[tuple[str, int, str]] = []
    total = settings.rollouts_per_seed * len(settings.train_seeds)
    bar_of = {(method, cell): bars.add(f"{TITLES[method]}, {cell}", total) for method in METHODS for cell in CELLS}
    batch = max(1, settings.rollouts_per_seed // 3)
    for method, seed in run.runs():
        for cell, condition in settings.conditions.items():
            first = EVALUATION_SEED + 1000 * seed
            seeds = range(first, first + settings.rollouts_per_seed)
            for start in range(0, len(seeds), batch):
                jobs.append(Job(run.paths.policy(method, seed), robot_yaml(), task_yaml(settings.task), condition,
                                tuple(seeds[start : start + batch]), settings.latency_ms))
                labels.append((method, seed, cell))
    rollouts: list[dict] = []
    for index, results in run_jobs(jobs, settings.workers):
        method, seed, cell = labels[index]
        rollouts += [{"method": method, "train_seed": seed, "cell": cell, **asdict(result)} for result in results]
        block = summary.success_block(rollouts, method, cell)
        bar_of[method, cell].set(block["rollouts"], f"{block['successes']} succeeded")
    return {"rollouts": rollouts, "latency_ms": settings.latency_ms}


def deploy(run: Run, bars: Bars) -> dict:
    """Every policy through policy node and guard, over ROS 2, in scenes of their own."""
    settings = run.settings
    total = settings.deployed_per_seed * len(settings.train_seeds)
    bar_of = {(method, cell): bars.add(f"{TITLES[method]}, {cell}", total) for method in METHODS for cell in CELLS}
    rollouts: list[dict] = []
    lock = threading.Lock()

    def on_event(event: dict) -> None:
        with lock:
            rollouts.append(event)
            block = summary.success_block(rollouts, event["method"], event["cell"])
            bar_of[event["method"], event["cell"]].set(block["rollouts"], f"{block['successes']} succeeded")

    shares = [run.runs()[i::settings.deployment_cells] for i in range(settings.deployment_cells)]
    in_parallel([lambda i=i, share=share: cells.deploy(run, i, share, DEPLOYMENT_SEED, on_event)
                 for i, share in enumerate(shares) if share], run.stop)
    expected = total * len(METHODS) * len(CELLS)
    if len(rollouts) != expected:
        raise AutofocusError("deployment", f"{len(rollouts)} rollouts", f"{expected}", "look at the logs of the run")
    return cells.deployment_findings(run, rollouts)


def write_report(run: Run, bars: Bars) -> dict:
    """summary.json, then report.html from it."""
    wall_s = {name: seconds for name, seconds in run.ui.wall_s.items()}
    result = summary.build(run.found, wall_s)
    run.paths.summary.write_text(json.dumps(result, indent=1) + "\n")
    run.paths.report.write_text(report.build(run.paths), encoding="utf-8")
    return {}


class watched:
    """While the block runs, `show(measure())` twice a second."""

    def __init__(self, measure: Callable[[], int], show: Callable[[int], None]) -> None:
        self._measure, self._show = measure, show
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._done.wait(0.5):
            self._show(self._measure())

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()
        self._show(self._measure())


def _record_title(run: Run) -> str:
    return (f"{run.settings.demos} demonstrations of {run.task.instruction!r} (condition {run.settings.confounder}), "
            f"{run.settings.recording_cells} cell{'s' * (run.settings.recording_cells > 1)} over ROS 2 at a time")


def _count(run: Run, per_seed: int) -> str:
    return f"{per_seed * len(run.settings.train_seeds)} rollouts per policy and scene,"


ORDER = (
    Stage("setup", lambda run: "look at the machine", setup),
    Stage("record", _record_title, record),
    Stage("annotate", lambda run: "objects from the instruction, in every frame", annotate),
    Stage("train", lambda run: f"{len(run.runs())} policies, {run.settings.steps} steps each", train),
    Stage("export", lambda run: "TorchScript policy files", export),
    Stage("offline", lambda run: "joint error on held-out episodes; where the policies look", offline.work),
    Stage("evaluate", lambda run: f"{_count(run, run.settings.rollouts_per_seed)} in process", evaluate),
    Stage("deploy", lambda run: f"{_count(run, run.settings.deployed_per_seed)} through policy node and guard", deploy),
    Stage("report", lambda run: "summary.json and report.html", write_report),
)
