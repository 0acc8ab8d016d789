"""Episodes as a LeRobot dataset: frames on a fixed grid, and in each of them everything of one moment."""

from __future__ import annotations

import json

import numpy as np
import pytest
import training_bags as bags
from autofocus_core.episode import load_episode
from autofocus_core.errors import AutofocusError
from autofocus_core.resample import Observation
from autofocus_training import lerobot_files
from autofocus_training.lerobot import Counts, Frame, on_grid, write_dataset

S = 1_000_000_000


def gridded(*seconds: float, fps: int = 10) -> tuple[list[int], Counts]:
    """Which of the frames stamped at `seconds` are written, by number."""
    frames = [
        Frame(Observation(S + round(t * S), {}, {}, np.zeros(1), 1), np.array([k])) for k, t in enumerate(seconds)
    ]
    counts = Counts()
    return [int(frame.action[0]) for frame in on_grid(iter(frames), fps, "episode e", counts)], counts


def test_jitter_of_less_than_half_a_period_changes_nothing():
    found, counts = gridded(0.0, 0.104, 0.196, 0.303, 0.36, 0.52)
    assert found == [0, 1, 2, 3, 4, 5] and not counts.repeated and not counts.skipped


def test_another_rate_repeats_or_leaves_out_and_says_how_often():
    found, counts = gridded(*np.arange(0, 1, 0.05))
    assert 10 <= len(found) <= 11
    assert counts.skipped == 20 - len(found) and not counts.repeated
    found, counts = gridded(*np.arange(0, 1, 0.2))
    assert counts.repeated == len(found) - 5 and sorted(set(found)) == [0, 1, 2, 3, 4]


def test_a_frame_stands_for_no_other_time_than_its_own():
    rng = np.random.default_rng(0)
    seconds = np.cumsum(rng.uniform(0.06, 0.15, 200))
    seconds -= seconds[0]
    found, _ = gridded(*seconds)
    for k, number in enumerate(found[:-1]):
        assert seconds[number] <= (k + 0.5) * 0.1 < seconds[number + 1]


def test_a_long_gap_is_refused_and_not_filled():
    with pytest.raises(AutofocusError, match=r"0\.500 s without a usable frame"):
        gridded(0.0, 0.1, 0.6)


def test_a_missing_library_names_the_extra(monkeypatch, tmp_path):
    import builtins

    real = builtins.__import__

    def without(name, *rest):
        if name == "av":
            raise ImportError("no av", name="av")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(AutofocusError, match=r"autofocus-il\[lerobot\]"):
        lerobot_files.libraries()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Two episodes as a dataset, where pyarrow and av are installed."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra autofocus-il[lerobot])")
    pytest.importorskip("av", reason="av is not installed (extra autofocus-il[lerobot])")
    folder = tmp_path_factory.mktemp("lerobot")
    episodes = [load_episode(bags.write_episode(folder / name, invalid=(4,))) for name in ("e0", "e1")]
    counts = write_dataset(episodes, bags.robot(), bags.task(), folder / "dataset")
    return folder / "dataset", counts


def test_layout_and_rows(written):
    import pyarrow.parquet

    root, counts = written
    info = json.loads((root / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_frames"]) == ("v3.0", 30, counts.frames)
    assert counts.left_out == {"no action at its stamp": 4}
    for number in (0, 1):
        rows = pyarrow.parquet.read_table(root / f"data/chunk-000/file-{number:03d}.parquet").to_pylist()
        assert len(rows) == counts.frames // 2
        for k, row in enumerate(rows):
            stamp = row["stamp_ns"]
            assert stamp == bags.START_NS + k * bags.FRAME_NS and row["timestamp"] == np.float32(k / 30)
            newest = bags.joints_at(stamp - (stamp - bags.START_NS) % 10_000_000)
            np.testing.assert_allclose(row["observation.state"], newest, atol=1e-6)
            np.testing.assert_allclose(row["action"], bags.intent_at(stamp), atol=1e-5)
            assert row["annotation.camera.valid"] == [k != 4, True]
            if k != 4:
                np.testing.assert_allclose(row["annotation.camera.boxes_px"][:4], bags.box_at(k))


def test_videos_hold_each_frame_and_its_map(written):
    import av

    root, counts = written
    for key in ("images", "saliency"):
        path = root / f"videos/observation.{key}.camera/chunk-000/file-001.mp4"
        with av.open(str(path)) as container:
            frames = [(float(f.pts * f.time_base), f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
        assert len(frames) == counts.frames // 2
        for k, (seconds, image) in enumerate(frames):
            assert seconds == pytest.approx(k / 30, abs=1e-4)
            if key == "images":
                assert np.abs(image.astype(int) - bags.picture(k)).mean() < 8.0
            elif k != 4:
                y, x = np.unravel_index(image[:, :24 + k // 2, 0].argmax(), image[:, :24 + k // 2, 0].shape)
                assert abs(x - (bags.box_at(k)[0] + 3.5)) <= 1 and abs(y - 11.5) <= 1


def test_an_existing_folder_is_left_alone(written):
    root, _ = written
    with pytest.raises(AutofocusError, match="exists"):
        write_dataset([], bags.robot(), bags.task(), root)


def test_lerobot_itself_reads_the_tables(written):
    """Its videos need torchcodec or torchvision with FFmpeg, which are checked by it and not here."""
    datasets = pytest.importorskip("lerobot.datasets.lerobot_dataset", reason="lerobot is not installed")
    root, counts = written
    found = datasets.LeRobotDataset("local/test", root=root)
    assert len(found) == counts.frames and found.fps == 30 and found.meta.total_episodes == 2
    row = found.hf_dataset[7]
    np.testing.assert_allclose(row["action"], bags.intent_at(int(row["stamp_ns"])), atol=1e-5)
    assert found.meta.tasks.iloc[0].name == "lift the red cube"
    assert found.meta.stats["observation.images.camera"]["mean"].shape == (3, 1, 1)

