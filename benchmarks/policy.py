"""The policy node beside the bare network, the way peers do it, and LeRobot's own loop; and the robot's command period.

    python benchmarks/policy.py                 # some twenty minutes on an idle machine; writes results/policy.json
    python benchmarks/policy.py --only period   # or latency, or lerobot; the chart has all that was ever measured
    python benchmarks/policy.py --quick --out /tmp/figures

(a) the TorchScript file alone; (b) camera process, policy node, command guard, robot's end; (c) the same network eager
within a timer's callback (policy_parts/peer_node.py); (d) LeRobot's loop, with `--lerobot PYTHON` (an interpreter that
has lerobot 0.4.4; it wants another torch than this project, so an environment of its own).

The control rate is 15 Hz, every second frame; a network that is too slow for that has the next rate at which it fits,
in (a), (b) and (c) alike: above it every observation waits for the inference before, however it is called.

A machine that runs something else falsifies (a) to (c), also where that is at idle priority: Linux groups processes by
session (autogroup), and the priority of an idle process counts within its session alone. On two cores, two of them
made the same forward pass take 210 ms instead of 71.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from autofocus_core import results
from autofocus_core.dds import make_room
from autofocus_core.errors import AutofocusError, exit_status
from autofocus_core.schema import load_robot
from policy_parts import networks, runs
from policy_parts.chart import draw
from recorder_parts.meters import warn_if_busy

ROOT = Path(__file__).parents[1]
CHART = ROOT / "docs/images/policy_benchmark.png"
CONTROL_RATES_HZ = (15.0, 7.5, 5.0, 3.75, 3.0)  # whole shares of a camera at 30 Hz
BUSY_SHARE = 0.65  # of a control period may be the forward pass
GUARD_RATES_HZ = (50.0, 100.0, 200.0)
P50_OVER_BARE, P99_OVER_BARE, PEER_OVER_OURS, PERIOD_P99 = 1.3, 2.0, 2.0, 1.2

Record = Callable[[str, float, str, str, bool], None]


def main() -> int:
    """Measure, print, record, draw; 0 when every target is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a measurement (default: %(default)g)")
    parser.add_argument("--state-rate", type=float, default=100.0, help="joint states of the robot, Hz "
                        "(default: %(default)g)")
    parser.add_argument("--encoders", nargs="+", choices=networks.ENCODERS, default=list(networks.ENCODERS))
    parser.add_argument("--sizes", nargs="+", type=int, choices=networks.SIZES_PX, default=list(networks.SIZES_PX))
    parser.add_argument("--lerobot", type=Path, metavar="PYTHON", help="interpreter with lerobot 0.4.4, for (d)")
    parser.add_argument("--only", choices=["latency", "lerobot", "period"], help="a part of it")
    parser.add_argument("--ahead", action="store_true", help="what is measured runs before all ordinary processes: for "
                        "a machine that cannot be had alone")
    parser.add_argument("--quick", action="store_true", help="a smoke run: 4 s each, our own encoder")
    parser.add_argument("--out", type=Path, help="folder for figures and chart instead of the repository's")
    parser.add_argument("--scratch", type=Path, default=ROOT / "runs/bench_policy", help="policy files and logs")
    args = parser.parse_args()
    make_room(os.environ)  # 0.9 MB images need more shared memory than DDS has by default; for everyone alike
    if args.quick:
        args.seconds, args.encoders = 4.0, ["own"]
    folder = args.out or ROOT / "benchmarks/results"
    for each in (folder, args.scratch):
        each.mkdir(parents=True, exist_ok=True)
    warn_if_busy()
    command = f"python benchmarks/policy.py --seconds {args.seconds:g} --state-rate {args.state_rate:g}"
    command += (" --ahead" if args.ahead else "") + (" --lerobot PYTHON" if args.lerobot else "")
    met: list[bool] = []

    def record(name: str, value: float, unit: str, target: str, ok: bool) -> None:
        met.append(ok)
        results.record("policy", name, round(float(value), 3), unit, target, ok, command, folder)
        print(f"{'    ' if ok else 'MISS'} {name}: {value:.3g} {unit} ({target})", flush=True)

    began_s = time.monotonic()
    failed: list[str] = []

    def part(what: str, measure: Callable[[], None]) -> None:
        """One that fails, on a machine too busy to bring its processes up for instance, does not end the others."""
        print(f"{(time.monotonic() - began_s) / 60:5.1f} min  {what}", flush=True)
        try:
            measure()
        except AutofocusError as error:
            failed.append(what)
            print(f"FAILED {what}:\n{error}", file=sys.stderr, flush=True)

    robot = runs.write_robot(args.scratch / "robot.yaml", CONTROL_RATES_HZ[0], args.state_rate)
    cell = runs.Cell(args.scratch, robot, args.seconds, CONTROL_RATES_HZ[0], args.ahead)
    if args.only in (None, "latency"):
        for encoder in args.encoders:
            for size in args.sizes:
                part(f"latency: {networks.ENCODERS[encoder]} {size} px",
                     partial(latency, cell, encoder, size, args.state_rate, record))
    if args.only in (None, "lerobot") and args.lerobot:
        for size in args.sizes:
            part(f"LeRobot's loop {size} px", partial(lerobot, args.lerobot, size, args.seconds, record))
    if args.only in (None, "period"):
        for loaded in (0, len(os.sched_getaffinity(0))):
            for rate_hz in GUARD_RATES_HZ:
                part(f"command period at {rate_hz:g} Hz, {loaded} busy processes",
                     partial(period, cell, rate_hz, loaded, record))
    draw(folder, args.out / CHART.name if args.out else CHART)
    print(f"took {(time.monotonic() - began_s) / 60:.1f} min; {sum(met)} of {len(met)} targets met")
    if failed:
        print(f"not measured: {'; '.join(failed)}")
    return 0 if all(met) and not failed else 1


def fitting(cell: runs.Cell, encoder: str, size_px: int, state_rate_hz: float) -> tuple[runs.Cell, Path, np.ndarray]:
    """The cell at the highest control rate that the network is quick enough for, its policy file, and (a) in ms."""
    for rate_hz in CONTROL_RATES_HZ:
        robot = runs.write_robot(cell.scratch / f"robot_{rate_hz:g}.yaml", rate_hz, state_rate_hz)
        slower = dataclasses.replace(cell, robot=robot, control_rate_hz=rate_hz)
        policy = networks.write_policy(cell.scratch / f"{encoder}_{size_px}.pt", encoder, size_px, load_robot(robot))
        bare = runs.bare(slower, policy, len(load_robot(robot).joint_names))
        if np.percentile(bare, 50) <= BUSY_SHARE * 1e3 / rate_hz:
            break
    return slower, policy, bare


def latency(cell: runs.Cell, encoder: str, size_px: int, state_rate_hz: float, record: Record) -> None:
    """(a), (b) and (c) of one network, in ms."""
    what = f"{networks.ENCODERS[encoder]} {size_px} px"
    cell, policy, bare = fitting(cell, encoder, size_px, state_rate_hz)
    record(f"{what}: control rate", cell.control_rate_hz, "Hz", "measured", True)
    ours, peer = runs.node(cell, policy), runs.peer(cell, encoder, size_px)
    multi = runs.peer(cell, encoder, size_px, "multi")
    request, command = runs.latencies_ms(ours, "requests"), runs.latencies_ms(ours, "commands")
    theirs = runs.latencies_ms(peer, "commands")
    ways = {"(a) bare forward": bare, "(b) stamp to request": request,
            "(b) stamp to command, guard at 100 Hz": command, "(c) peer style, stamp to command": theirs,
            "(c) peer style with rosetta's four threads": runs.latencies_ms(multi, "commands")}
    for name, values in ways.items():
        for percent in (50, 99):
            record(f"{what}: {name}, p{percent}", np.percentile(values, percent), "ms", "measured", True)
    inference = float(ours["policy"]["inference_ms_p50"])
    record(f"{what}: (b) forward pass within the node, p50", inference, "ms", "measured", True)
    for percent, allowed in ((50, P50_OVER_BARE), (99, P99_OVER_BARE)):
        share = np.percentile(request, percent) / np.percentile(bare, percent)
        record(f"{what}: stamp to request over bare forward, p{percent}", share, "times", f"<= {allowed:g}",
               share <= allowed)
    better = np.percentile(theirs, 99) / np.percentile(command, 99)
    record(f"{what}: peer style over ours, stamp to command, p99", better, "times", f">= {PEER_OVER_OURS:g}",
           better >= PEER_OVER_OURS)
    wanted = cell.seconds * cell.control_rate_hz
    record(f"{what}: requests of those due", len(request) / wanted, "share", ">= 0.95", len(request) >= 0.95 * wanted)
    for name, found in (("", peer), (" with rosetta's four threads", multi)):
        record(f"{what}: (c) peer style{name}: commands of those due", len(found["commands"]) / wanted, "share",
               "measured", True)


def lerobot(python: Path, size_px: int, seconds: float, record: Record) -> None:
    """(d), in ms; its network is another one, so it is compared with that."""
    found = runs.lerobot(python, size_px, CONTROL_RATES_HZ[0], seconds)
    for percent in (50, 99):
        loop, bare = (np.percentile(found[key], percent) for key in ("loop_ms", "bare_ms"))
        record(f"LeRobot 0.4.4 ACT {size_px} px: (d) predict_action without camera, p{percent}", loop, "ms", "measured",
               True)
        record(f"LeRobot 0.4.4 ACT {size_px} px: (d) over its bare model, p{percent}", loop / bare, "times", "measured",
               True)


def period(cell: runs.Cell, rate_hz: float, loaded: int, record: Record) -> None:
    """The command period at the robot's end, idle or beside `loaded` processes that each burn a core."""
    policy = networks.write_policy(cell.scratch / "own_96.pt", "own", 96, load_robot(cell.robot))
    found = runs.node(cell, policy, rate_hz, loaded)
    periods, t_ms = runs.periods_ms(found), 1e3 / rate_hz
    where = f"command period at {rate_hz:g} Hz, {'all cores loaded' if loaded else 'idle'}"
    p50, p99 = np.percentile(periods, (50, 99)) / t_ms
    record(f"{where}, p50", p50, "T", "measured", True)
    if loaded:
        record(f"{where}, p99", p99, "T", "measured", True)
    else:
        record(f"{where}, p99", p99, "T", f"<= {PERIOD_P99:g}", p99 <= PERIOD_P99)
    record(f"{where}, max", periods.max() / t_ms, "T", "measured", True)
    record(f"{where}: holds in {cell.seconds:g} s", found["holds"], "holds",
           "measured" if loaded else "0", bool(loaded) or found["holds"] == 0)


if __name__ == "__main__":
    sys.exit(exit_status(main))
