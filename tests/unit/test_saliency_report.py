"""What makes annotations anew; quality and its doubts; the report of a folder; records of failure."""

import ast
import io
import json
import shutil
from pathlib import Path

import autofocus_core
import numpy as np
import pytest
import review_folder as rf
import saliency_server
from annotate_bags import FRAMES
from autofocus_core.annotation import CameraAnnotation, ObjectTrack
from rich.console import Console
from saliency_server.annotate import main
from saliency_server.failures import failure_path, note_failure, read_failure
from saliency_server.pipeline import CORE_IN_ANNOTATIONS, NOT_IN_ANNOTATIONS, sources_version
from saliency_server.quality import jumped, switched
from saliency_server.report import REPORT_FILE, make_report, print_report, write_report
from saliency_server.review.catalogue import Catalogue, key_of

OWN, CORE = Path(saliency_server.__file__).parent, Path(autofocus_core.__file__).parent


# --- the version of the code -----------------------------------------------------------------------------------------


def test_a_changed_backend_changes_the_version_and_a_changed_page_does_not(tmp_path):
    """Only the files at the top used to count: with another detector the old annotations were "up to date"."""
    own, core = shutil.copytree(OWN, tmp_path / "own"), shutil.copytree(CORE, tmp_path / "core")

    def changed(file: Path) -> bool:
        before, text = sources_version(own, core), file.read_text()
        file.write_text(text + "\n# changed\n")
        after = sources_version(own, core)
        file.write_text(text)
        return before != after

    for name in ("models/detectors.py", "models/openai_chat.py", "prompts.py", "track.py", "pipeline.py"):
        assert changed(own / name), name
    for name in ("images.py", "annotation_bag.py", "saliency.py"):
        assert changed(core / name), name
    for name in ("review/server.py", "node.py", "screen.py", "report.py", "batch.py"):
        assert not changed(own / name), name
    assert not changed(core / "resample.py")


def test_nothing_that_makes_annotations_is_left_out_of_the_version():
    """What is left out must not be imported, from wherever, by what counts."""
    outside = {name.removesuffix(".py") for name in NOT_IN_ANNOTATIONS}
    assert all((OWN / name).exists() for name in NOT_IN_ANNOTATIONS)
    assert all((CORE / name).exists() for name in CORE_IN_ANNOTATIONS)
    for file in OWN.rglob("*.py"):
        if file.relative_to(OWN).parts[0] in NOT_IN_ANNOTATIONS:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else (
                [alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
            for module in modules:
                parts = module.split(".")
                assert parts[0] != "saliency_server" or len(parts) < 2 or parts[1] not in outside, (file, module)


# --- doubts ----------------------------------------------------------------------------------------------------------


def track(name, centres, size=20.0, role="target"):
    """A track through (N, 2) centres in px; NaN: not valid."""
    centres = np.asarray(centres, float)
    boxes = np.hstack([centres - size / 2, centres + size / 2]).astype(np.float32)
    valid = ~np.isnan(boxes).any(axis=1)
    return ObjectTrack(name, role, boxes, valid.astype(np.float32), valid, tuple("" if ok else "lost" for ok in valid))


def camera(*tracks):
    n = len(tracks[0].valid)
    return CameraAnnotation("camera", 320, 240, np.arange(n, dtype=np.int64), tracks, np.ones(n, bool), ("",) * n)


def moving(n=40, x=100.0, speed=1.0, y=120.0):
    return np.column_stack([x + speed * np.arange(n), np.full(n, y)])


def test_what_moves_as_things_do_is_no_switch():
    steady, gone = track("a", moving()), moving(y=60.0, speed=2.0)
    gone[10:20] = np.nan  # hidden, and carried on meanwhile
    assert switched(camera(steady, track("b", gone))) == []


@pytest.mark.parametrize("gap", [1, 5])
def test_what_comes_back_where_it_cannot_have_got_to_is_suspected(gap):
    path = moving(speed=0.0)
    path[20 - gap : 20] = np.nan
    path[20:] += (150.0, 0.0)
    ((frame, what),) = switched(camera(track("a", path)))
    assert frame == 20 and "comes back elsewhere" in what


def test_two_that_change_places_are_suspected_both():
    a, b = moving(speed=0.0), moving(speed=0.0, x=220.0)
    a[20:], b[20:] = b[20:].copy(), a[20:].copy()
    one, other = track("a", a), track("b", b)
    assert [(frame, what) for frame, what in switched(camera(one, other))] == [
        (20, "a: jumps to where b was"), (20, "b: jumps to where a was"),
    ]  # fmt: skip
    assert jumped(one, (240, 320)).tolist() == [20]


def test_two_on_one_box_are_suspected_but_not_the_gripper_around_its_object():
    a, b = moving(), moving(y=60.0)
    b[30:] = a[30:]
    found = switched(camera(track("a", a), track("b", b)))
    assert (30, "a and b: on one box") in found
    assert switched(camera(track("a", a), track("gripper", a, role="robot"))) == []


# --- report and failures ---------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Two annotated episodes, one of them wrong; one not annotated; one that failed."""
    folder = tmp_path / "episodes"
    rf.write_annotated(folder / "a_good")
    rf.write_annotated(folder / "b_jumps", wrong=True)
    rf.write_bag(folder / "c_bare")
    rf.write_bag(folder / "d_failed")
    note_failure(folder / "d_failed", "bag x\n  got:     [red]no[/red] <b>image</b>")
    return folder


def test_the_report_has_every_episode_the_worst_first(folder):
    report = make_report(folder)
    rows = {row["episode"]: row for row in report["episodes"]}
    assert list(rows)[-1] == "a_good" and set(list(rows)[:2]) == {"c_bare", "d_failed"}
    assert [rows[name]["status"] for name in sorted(rows)] == ["annotated", "annotated", "not annotated", "failed"]
    assert rows["b_jumps"]["jumps"] == 1 and rows["a_good"]["jumps"] == 0
    assert rows["a_good"]["coverage"][f"camera/{rf.THING}"] == pytest.approx(30 / 45, abs=1e-4)
    assert rows["a_good"]["confidence"][f"camera/{rf.CUBE}"] == pytest.approx(0.9)
    total = report["total"]
    assert total["episodes"] == 4 and total["frames"] == 2 * FRAMES and total["jumps"] == 1
    assert total["status"] == {"annotated": 2, "incomplete": 0, "failed": 1, "not annotated": 1}
    assert json.loads(write_report(folder, report).read_text()) == report


def test_the_table_shows_names_as_they_are(folder):
    out = io.StringIO()
    print_report(make_report(folder), folder, Console(file=out, width=100))
    text = out.getvalue()
    for word in ("d_failed", "failed", "[red]no[/red]", "jumps 1 times", "2 of 4", "not annotated"):
        assert word in text, text


def test_report_annotates_nothing(folder, capsys):
    before = sorted(folder.rglob("*"))
    assert main([str(folder), "--report"]) == 0
    assert "a_good" in capsys.readouterr().out and sorted(folder.rglob("*")) == before
    assert not (folder / REPORT_FILE).exists()


def test_the_review_page_shows_a_failure_first_and_forgets_it_with_the_record(folder):
    catalogue = Catalogue(folder)
    quality = catalogue.look(key_of("d_failed")).quality
    assert quality.doubts[0].startswith("annotating failed: [red]no[/red] <b>")
    note_failure(folder / "a_good", "no space")
    seen = catalogue.look(key_of("a_good"))
    assert seen.annotation is not None and seen.quality.doubts[0] == "annotating failed: no space"
    failure_path(folder / "a_good").unlink()
    assert not any("failed" in doubt for doubt in catalogue.look(key_of("a_good")).quality.doubts)


def test_a_damaged_record_of_failure_is_still_one(folder):
    failure_path(folder / "d_failed").write_text("{")
    assert "cannot be read" in read_failure(folder / "d_failed").error
