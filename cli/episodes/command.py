"""The command line of `autofocus episodes`: verbs, options, and what they print."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from autofocus_cli.episodes import checking, details, overview
from autofocus_cli.episodes.console import GRADE_COLOURS, make_console, say
from autofocus_core.bags import storage_files
from autofocus_core.episode import Episode, episode_paths, list_episodes, load_episode, set_outcome, update_meta
from autofocus_core.episode_meta import OUTCOMES
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import QualityRules, Robot, Task, load_robot, load_task
from demo_recorder import trimming
from demo_recorder.recovery import find_interrupted, in_use, recover
from rich.console import Console
from rich.markup import escape
from tqdm import tqdm

ANY = "a folder of episodes, one episode, or any rosbag2 recording"


def main(argv: list[str]) -> int:
    """Entry point of the verb."""
    args = build_parser().parse_args(argv)
    return args.run(args, make_console())


def build_parser() -> argparse.ArgumentParser:
    """All verbs with their options."""
    parser = argparse.ArgumentParser(
        prog="autofocus episodes", description="What was recorded, whether it can be relied on, and what to do if not."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, run: Callable[[argparse.Namespace, Console], int], text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        added.set_defaults(run=run)
        return added

    one = verb("list", run_list, "one line for each episode: outcome, verdict, length, losses (reads sidecars only)")
    one.add_argument("path", type=Path, help=ANY)
    one.add_argument("--json", action="store_true", help="for programs")

    one = verb("show", run_show, "all that is known about an episode: streams, verdict, events, devices")
    one.add_argument("path", type=Path, help=ANY)
    one.add_argument("--json", action="store_true", help="for programs")

    one = verb("check", run_check, "read and decode every message, measure every figure again and judge it; exit 1 "
               "if an episode is bad")  # fmt: skip
    one.add_argument("path", type=Path, nargs="+", help=ANY)
    one.add_argument("--task", type=Path, help="task YAML with the thresholds to judge by (default: the built-in ones)")
    one.add_argument("--robot", type=Path, help="robot YAML with the rates to expect of foreign bags (default: none)")
    one.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N",
                     help="episodes read at a time, each in its process (default: %(default)s, one for each core)")
    one.add_argument("--json", action="store_true", help="for programs; no progress bar")

    one = verb("recover", run_recover, "make episodes of recordings that were killed or damaged; the originals are "
               "kept in .interrupted/")  # fmt: skip
    one.add_argument("path", type=Path, nargs="+", help="a folder (all of its interrupted recordings), or recordings")
    one.add_argument("--robot", type=Path, help="robot YAML, where the recording does not say what was expected")
    one.add_argument("--task", type=Path, help="task YAML, likewise; its thresholds are used")
    one.add_argument("--delete-original", action="store_true",
                     help="remove each original once its episode is on the disk and was read again")

    one = verb("trim", run_trim, "mark the idle head and tail, so that training leaves them out; the messages stay")
    one.add_argument("path", type=Path, nargs="+", help="folders of episodes, or episodes")
    one.add_argument("--robot", type=Path,
                     help="robot YAML with the joints' velocity limits (default: what stands out of their noise)")
    one.add_argument("--margin", type=float, default=trimming.MARGIN_S, metavar="S",
                     help="seconds to keep before and after the motion (default: %(default)s)")
    one.add_argument("--speed", type=float, default=trimming.VELOCITY_SHARE, metavar="SHARE",
                     help="with --robot: a joint moves above this share of its limit (default: %(default)s)")
    one.add_argument("--from", dest="from_s", type=float, metavar="S",
                     help="by hand: first second to keep, from the start (negative: before the end)")
    one.add_argument("--to", dest="to_s", type=float, metavar="S", help="by hand: last second to keep, likewise")
    one.add_argument("--clear", action="store_true", help="take the mark away")
    one.add_argument("--force", action="store_true", help="also replace marks that were made by hand")

    one = verb("note", run_note, "write the note of an episode")
    one.add_argument("path", type=Path, help="an episode")
    one.add_argument("text", help='what to remember of it; "" for nothing')

    one = verb("outcome", run_outcome, "write the outcome of an episode; training leaves failures out")
    one.add_argument("path", type=Path, help="an episode")
    one.add_argument("outcome", choices=OUTCOMES)
    return parser


def run_list(args: argparse.Namespace, console: Console) -> int:
    """`list`."""
    unfinished = overview.read_unfinished(args.path)
    try:
        rows = overview.read_rows(args.path)
    except AutofocusError:
        if not unfinished:
            raise
        rows = []
    if args.json:
        print(json.dumps(overview.as_json(rows, unfinished), indent=1))
    else:
        overview.print_rows(rows, unfinished, console)
    return 0


def run_show(args: argparse.Namespace, console: Console) -> int:
    """`show`."""
    episodes = list_episodes(args.path)
    if args.json:
        print(json.dumps([details.as_json(episode) for episode in episodes], indent=1))
        return 0
    for number, episode in enumerate(episodes):
        if number:
            console.print()
        details.print_episode(episode, console)
    return 0


def run_check(args: argparse.Namespace, console: Console) -> int:
    """`check`."""
    paths = [path for given in args.path for path in episode_paths(given)]
    rules = load_task(args.task).quality if args.task else QualityRules()
    robot = load_robot(args.robot) if args.robot else None
    size = sum(_size(path) for path in paths)
    found = []
    with tqdm(total=size, desc="reading", unit="B", unit_scale=True, disable=True if args.json else None) as bar:
        for checked in checking.check_all(paths, rules, robot, args.workers, bar.update):
            found.append(checked)
            if not args.json:
                with bar.external_write_mode():
                    print_checked(checked, console)
    if args.json:
        print(json.dumps([checking.as_json(checked) for checked in found], indent=1))
    else:
        grades = Counter(checked.grade for checked in found)
        counted = ", ".join(f"{grades[grade]} {grade}" for grade in GRADE_COLOURS if grades[grade])
        say(console, f"{len(found)} checked: {counted}")
        for given in args.path:
            for left in overview.read_unfinished(given):
                if not left.running:
                    what = escape(str(left.path))
                    say(console, f"[red]interrupted[/], not checked: autofocus episodes recover {what}")
    return 1 if any(checked.grade == "BAD" for checked in found) else 0


def print_checked(checked: checking.Checked, console: Console) -> None:
    """One episode: the grade, then why."""
    colour = GRADE_COLOURS[checked.grade]
    name = escape(checked.path.name)
    say(console, f"[{colour}]{checked.grade:<6}[/] {name}  {checked.messages} messages")
    for text in (*checked.problems, *checked.verdict.reasons):
        say(console, f"         {escape(text)}")
    if checked.recorded.grade not in ("unknown", checked.verdict.grade):
        say(console, f"         the recorder called it {checked.recorded.grade}")


def run_recover(args: argparse.Namespace, console: Console) -> int:
    """`recover`."""
    robot, task = _robot(args), _task(args)
    given = [path for path in args.path if not _is_folder(path)]
    for folder in (path for path in args.path if _is_folder(path)):
        for path in find_interrupted(folder):
            if in_use(path):
                say(console, f"left alone, still being recorded: {escape(path.name)}")
            else:
                given.append(path)
    if not given:
        console.print("nothing to recover")

    def one(path: Path) -> None:
        recovered = recover(path, robot=robot, task=task, delete_original=args.delete_original)
        seconds = (recovered.meta.end_ns - recovered.meta.start_ns) / overview.NS_PER_S
        count = sum(stream.count for stream in recovered.meta.streams.values())
        say(console, f"recovered {escape(str(recovered.path))}: {count} messages, {seconds:.1f} s")
        for reason in recovered.meta.verdict.reasons:
            say(console, f"    {escape(reason)}")
        kept = "removed" if recovered.original is None else f"kept: {escape(str(recovered.original))}"
        say(console, f"    the original was {kept}")

    return for_each(given, one, console)


def run_trim(args: argparse.Namespace, console: Console) -> int:
    """`trim`."""
    by_hand = args.from_s is not None or args.to_s is not None
    paths = [path for given in args.path for path in episode_paths(given)]
    if args.clear and by_hand:
        raise AutofocusError("trim", "--clear with --from or --to", "one of them", "leave one out")
    if by_hand and len(paths) > 1:
        raise AutofocusError(
            "trim", f"--from or --to for {len(paths)} episodes", "one episode", "give the path of one episode"
        )
    robot = _robot(args)

    def one(path: Path) -> None:
        before = load_episode(path)
        if args.clear:
            after = trimming.clear_trim(path)
        elif by_hand:
            after = trimming.trim_by_hand(path, args.from_s, args.to_s)
        elif before.trim is not None and before.trim.reason == trimming.BY_HAND and not args.force:
            say(console, f"{escape(path.name)}: was trimmed by hand, left as it is (--force replaces it)")
            return
        else:
            after = trimming.trim_idle(path, robot, args.margin, args.speed)
        say(console, f"{escape(path.name)}: {trim_words(after)}")

    return for_each(paths, one, console)


def trim_words(episode: Episode) -> str:
    """What of an episode counts."""
    meta = episode.meta
    assert meta is not None  # it was just written
    total_s = (meta.end_ns - meta.start_ns) / overview.NS_PER_S
    if meta.trim is None:
        return f"all of its {total_s:.1f} s count"
    begin_s, end_s = ((ns - meta.start_ns) / overview.NS_PER_S for ns in (meta.trim.start_ns, meta.trim.end_ns))
    return f"{begin_s:.1f} to {end_s:.1f} s of {total_s:.1f} s count ({escape(meta.trim.reason)})"


def run_note(args: argparse.Namespace, console: Console) -> int:
    """`note`."""
    update_meta(args.path, note=args.text)
    return 0


def run_outcome(args: argparse.Namespace, console: Console) -> int:
    """`outcome`."""
    set_outcome(args.path, args.outcome)
    return 0


def for_each(paths: list[Path], one: Callable[[Path], None], console: Console) -> int:
    """Do it for all: one that fails does not keep the others from it. 1 if any failed; of a single one the error."""
    failed = 0
    for path in paths:
        try:
            one(path)
        except AutofocusError as error:
            if len(paths) == 1:
                raise
            failed += 1
            say(console, f"[red]failed[/] {escape(path.name)}: {escape(error.got)}; {escape(error.fix)}")
    return 1 if failed else 0


def _is_folder(path: Path) -> bool:
    """A folder of recordings, as opposed to a recording."""
    if not path.is_dir():
        return False
    return not (path / "metadata.yaml").is_file() and not any(path.glob("*.mcap")) and not any(path.glob("*.db3"))


def _size(path: Path) -> int:
    try:
        return sum(file.stat().st_size for file in storage_files(path))
    except AutofocusError:
        return 0


def _robot(args: argparse.Namespace) -> Robot | None:
    return load_robot(args.robot) if args.robot else None


def _task(args: argparse.Namespace) -> Task | None:
    return load_task(args.task) if args.task else None
