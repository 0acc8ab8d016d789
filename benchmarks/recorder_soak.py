"""Episode after episode for a long time: memory, losses, verdicts, a SIGKILL in the middle, a publisher started again.

    python benchmarks/recorder_soak.py               # half an hour; writes results/recorder.json and a picture
    python benchmarks/recorder_soak.py --minutes 3 --out /tmp/figures

Each episode is audited message by message, checked as `autofocus episodes check` does, and deleted. Ctrl-C ends it
early, with the figures so far.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path

from autofocus_cli.demo.processes import ProcessGroup, own_domain, ros_environment
from autofocus_core.dds import make_room
from autofocus_core.errors import AutofocusError, exit_status
from autofocus_core.results import record
from recorder_parts.meters import MemorySampler, filesystem, warn_if_busy
from recorder_parts.soak_node import Soak, watch_disk
from recorder_parts.soak_plan import Episode, plan
from recorder_parts.soak_report import draw, figures
from recorder_parts.summary import PART
from recorder_parts.trial_node import client
from recorder_parts.workloads import WORKLOADS
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
RESULTS, PICTURE = ROOT / "benchmarks/results", ROOT / "docs/images/recorder_soak.png"
WORKLOAD = WORKLOADS["vga30"]
SAMPLE_PERIOD_S = 1.0
#: Reading, checking and deleting an episode, for the number of those that fit.
BETWEEN_S = 5.0
MIN_FREE_GB = 5.0


def main() -> int:
    """Soak, print, record, draw; 0 when every target is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (default: %(default)g)")
    parser.add_argument("--episode", type=float, default=20.0, help="seconds of each episode (default: %(default)g)")
    parser.add_argument("--split-mb", type=int, default=64, help="size of an episode's files (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder for figures and picture instead of the repository's")
    parser.add_argument("--scratch", type=Path, default=ROOT / "runs/bench_soak", help="where bags are written")
    args = parser.parse_args()
    make_room(os.environ)  # as our camera node does, for every recorder alike: 2.7 MB images need more than 512 KB
    shutil.rmtree(args.scratch, ignore_errors=True)
    args.scratch.mkdir(parents=True)
    free_gb = shutil.disk_usage(args.scratch).free / 1e9
    if free_gb < MIN_FREE_GB:
        raise AutofocusError(f"scratch folder {args.scratch}", f"{free_gb:.1f} GB free", f"at least {MIN_FREE_GB:g} GB",
                             "free some space, or give another --scratch")  # fmt: skip
    warn_if_busy()
    print(f"{WORKLOAD.title} + three joint topics at 100 Hz; bags go to {filesystem(args.scratch)}")
    episodes, samples, disk_peak, seconds = soak(args)
    results = args.out or RESULTS
    results.mkdir(parents=True, exist_ok=True)
    raw = {"episodes": [asdict(e) for e in episodes], "memory": [(t, m.total, m.private) for t, m in samples]}
    (args.scratch / "soak.json").write_text(json.dumps(raw))
    command = f"python benchmarks/recorder_soak.py --minutes {args.minutes:g}"
    met = True
    for figure in figures(episodes, samples, disk_peak, seconds):
        print(f"{'ok ' if figure.ok else 'NOT'} {figure.name}: {figure.value:.4g} {figure.unit}  {figure.target}")
        record(PART, figure.name, round(figure.value, 3), figure.unit, figure.target, figure.ok, command, results)
        met &= figure.ok
    draw(args.out / PICTURE.name if args.out else PICTURE, episodes, samples)
    return 0 if met else 1


def soak(args: argparse.Namespace) -> tuple[list[Episode], list, int, float]:
    """(episodes, memory samples by seconds since the beginning, peak of the disk in bytes, seconds it took)."""
    episodes: list[Episode] = []
    planned = plan(int(args.minutes * 60 / (args.episode + BETWEEN_S)))
    disk = watch_disk(args.scratch)
    with own_domain() as domain_id:
        env = ros_environment(domain_id, args.scratch)
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parent), env.get("PYTHONPATH"))))
        os.environ.update(env)
        with client() as caller, ProcessGroup(args.scratch / "log", env) as group:
            begin_s = time.monotonic()
            running = Soak(caller, group, WORKLOAD, args.scratch, args.split_mb, disk)
            sampler = MemorySampler(SAMPLE_PERIOD_S, lambda: running.pid)
            try:
                with sampler, tqdm(planned, unit="episode", disable=None) as bar:
                    for each in bar:
                        bar.set_description(each.kind)
                        episodes.append(running.run(each, args.episode))
                        bar.write(_line(episodes[-1], sampler))
            except KeyboardInterrupt:
                print(f"interrupted after {len(episodes)} episodes", file=sys.stderr)
            seconds = time.monotonic() - begin_s
    return episodes, [(time_s - begin_s, memory) for time_s, memory in sampler.samples], disk(), seconds


def _line(episode: Episode, sampler: MemorySampler) -> str:
    memory_mb = sampler.samples[-1][1].private / 1e6 if sampler.samples else 0.0
    text = (
        f"{episode.number:>4} {episode.kind:<18} {episode.messages} messages, {episode.splits} splits, missing "
        f"{episode.missing} ({episode.unreported} unreported), {episode.grade}, {memory_mb:.0f} MB private"
    )
    return text + "".join(f"\n     ! {problem}" for problem in episode.problems)


if __name__ == "__main__":
    sys.exit(exit_status(main))
