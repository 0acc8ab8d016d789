"""`autofocus episodes list|show|check FOLDER`: what was recorded, and whether it can be relied on."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from autofocus_core.bags import storage_files
from autofocus_core.episode import Episode, list_episodes
from autofocus_core.errors import AutofocusError


def list_folder(folder: Path) -> int:
    """One line for each episode."""
    episodes = list_episodes(folder)
    print(f"{'episode':<40} {'outcome':<8} {'s':>6} {'MB':>7} {'gaps':>5} {'drops':>5}  annotated")
    for episode in episodes:
        megabytes = sum(file.stat().st_size for file in storage_files(episode.path)) / 1e6
        annotated = "yes" if episode.annotation_path.is_dir() else "no"
        if episode.meta is None:
            print(f"{episode.id:<40} {'-':<8} {'-':>6} {megabytes:7.1f} {'-':>5} {'-':>5}  {annotated}  (foreign bag)")
            continue
        seconds = (episode.meta.end_ns - episode.meta.start_ns) / 1e9
        streams = episode.meta.streams.values()
        print(f"{episode.id:<40} {episode.outcome:<8} {seconds:6.1f} {megabytes:7.1f} "
              f"{sum(s.gaps for s in streams):5d} {sum(s.drops for s in streams):5d}  {annotated}")
    outcomes = Counter(episode.outcome for episode in episodes)
    print(f"{len(episodes)} episodes: " + ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))
    return 0


def show(path: Path) -> int:
    """Everything about each episode in `path`: streams, rates, gaps."""
    for episode in list_episodes(path):
        meta = episode.meta
        print(episode.path)
        if meta is None:
            with episode.open() as bag:
                print(f"  a foreign bag, {bag.message_count} messages")
                for topic, kind in sorted(bag.topics.items()):
                    print(f"  {topic:<40} {kind}")
            continue
        print(f"  task {meta.task}: {meta.instruction!r}, robot {meta.robot}, outcome {meta.outcome}, "
              f"stopped: {meta.stop_reason}" + (f", note: {meta.note}" if meta.note else ""))
        for topic, s in meta.streams.items():
            wanted = "-" if s.expected_rate_hz is None else f"{s.expected_rate_hz:g}"
            faults = s.stamp_faults
            print(f"  {topic:<40} {s.count:6d} messages, {s.achieved_rate_hz:6.1f} Hz (expected {wanted}), longest gap "
                  f"{s.longest_gap_ms:.1f} ms, gaps {s.gaps}, drops {s.drops}, stamps zero {faults.zero} "
                  f"double {faults.duplicate} backwards {faults.backwards}")
    return 0


def problems(episode: Episode) -> list[str]:
    """Reads and decodes every message; what is wrong with the episode, in words."""
    found: list[str] = []
    counts: Counter[str] = Counter()
    try:
        with episode.open() as bag:
            for message, _ in bag.decoded():
                counts[message.topic] += 1
    except AutofocusError as error:
        return [f"{error.where}: {error.got}"]
    if episode.meta is None:
        return found
    for topic, stream in episode.meta.streams.items():
        if counts[topic] != stream.count:
            found.append(f"{topic}: {counts[topic]} messages in the bag, {stream.count} in the sidecar")
        if stream.drops:
            found.append(f"{topic}: {stream.drops} messages lost while recording")
        if stream.count == 0:
            found.append(f"{topic}: no message at all")
    if episode.meta.stop_reason != "requested":
        found.append(f"stopped: {episode.meta.stop_reason}")
    return found


def check(path: Path) -> int:
    """Read every episode to its end; 1 when one of them has a problem."""
    bad = 0
    episodes = list_episodes(path)
    for episode in episodes:
        found = problems(episode)
        bad += bool(found)
        print(f"{'BAD ' if found else 'ok  '} {episode.id}")
        for text in found:
            print(f"       {text}")
    print(f"{len(episodes) - bad} of {len(episodes)} episodes are whole")
    return 1 if bad else 0


def main(argv: list[str]) -> int:
    """Entry point of the verb."""
    parser = argparse.ArgumentParser(prog="autofocus episodes", description=__doc__)
    parser.add_argument("action", choices=("list", "show", "check"),
                        help="list: one line each; show: streams and rates; check: read every message")
    parser.add_argument("path", type=Path, help="a folder of episodes, one episode, or any rosbag2 recording")
    args = parser.parse_args(argv)
    return {"list": list_folder, "show": show, "check": check}[args.action](args.path)
