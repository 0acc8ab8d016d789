"""Training from a LeRobot dataset: our own export gives the samples of the episodes; another's gives each image the
state and the action of its own frame; what does not fit is said before anything is learned."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import training_bags as bags
import yaml
from autofocus_core.episode import load_episode
from autofocus_core.errors import AutofocusError
from autofocus_training import train
from autofocus_training.cache import load_cached
from autofocus_training.config import load_config
from autofocus_training.data import load_dataset
from autofocus_training.lerobot import write_dataset
from autofocus_training.lerobot_dataset import Choice, open_dataset
from autofocus_training.lerobot_episode import LerobotEpisode
from autofocus_training.loader import targets

pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra autofocus-il[lerobot])")
pytest.importorskip("av", reason="av is not installed (extra autofocus-il[lerobot])")
import foreign_lerobot as foreign

CONFIG = load_config("tiny", ["horizon=2"])
PLAIN = load_config("tiny", ["horizon=2", "method=none"])
CAMERAS = ("camera", "wrist")


def opened(root, cameras=("camera",), **choice):
    return open_dataset(root, bags.robot(cameras), bags.task(cameras), Choice(**choice)).kept


def read(root, config=PLAIN, cameras=("camera",), **choice):
    return load_dataset(opened(root, cameras, **choice), bags.robot(cameras), bags.task(cameras), config)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Samples of two episodes with two cameras, and of their export; a cube without a box in frame 4."""
    folder = tmp_path_factory.mktemp("lerobot")
    robot, task = bags.robot(CAMERAS), bags.task(CAMERAS)
    paths = [bags.write_episode(folder / name, invalid=(4,), wrist=True) for name in ("e0", "e1")]
    episodes = [load_episode(path) for path in paths]
    write_dataset(episodes, robot, task, folder / "dataset")
    return folder / "dataset", load_dataset(episodes, robot, task, CONFIG), read(folder / "dataset", CONFIG, CAMERAS)


def test_an_export_gives_the_samples_of_its_episodes(both):
    """States, actions and boxes to the last bit of a float32, images up to the codec. The first frame has no image of
    the wrist yet, and labels beyond the last frame are the last frame's action, not the last message's."""
    _, recorded, exported = both
    ours, theirs = recorded.samples, exported.samples
    assert exported.objects == recorded.objects and theirs.images.shape[1:] == ours.images.shape[1:]
    shared = torch.isin(ours.stamps_ns, theirs.stamps_ns)
    assert len(theirs) == shared.sum() >= 50
    for name in ("stamps_ns", "episodes", "states", "boxes_px", "valid"):
        torch.testing.assert_close(getattr(theirs, name), getattr(ours, name)[shared], rtol=0, atol=0, equal_nan=True)
    last = torch.stack([theirs.stamps_ns[theirs.episodes == e].max() for e in theirs.episodes])
    inside = theirs.stamps_ns + 2 * 100_000_000 <= last
    assert inside.float().mean() > 0.7
    torch.testing.assert_close(theirs.actions[inside], ours.actions[shared][inside], rtol=0, atol=3e-7)
    off = (theirs.images.float() - ours.images[shared].float()).abs()
    assert off.mean() < 4.0
    number = ours.images[shared][:, 0, ..., 0].float().mean((1, 2))  # the red value is the frame's number
    assert (theirs.images[:, 0, ..., 0].float().mean((1, 2)) - number).abs().max() < 4.0
    assert not theirs.valid[:, 0, 0].all() and theirs.valid[:, 0, 0].float().mean() > 0.9


def test_maps_of_an_export_are_those_of_the_episodes(both):
    _, recorded, exported = both
    shared = torch.isin(recorded.samples.stamps_ns, exported.samples.stamps_ns)
    ours, theirs = recorded.samples.take(shared), exported.samples
    maps = [targets(samples.frames(), CONFIG).union_map(*CONFIG.image_size) for samples in (ours, theirs)]
    torch.testing.assert_close(maps[0], maps[1], rtol=0, atol=0)


def test_a_history_of_states_is_read_between_frames(tmp_path):
    """0.1 s is three frames less a nanosecond: the last frame before would be four frames old."""
    episode = load_episode(bags.write_episode(tmp_path / "e", annotate=False))
    write_dataset([episode], bags.robot(), bags.task(), tmp_path / "d")
    config = load_config("tiny", ["method=none", "state_history=3"])
    samples = read(tmp_path / "d", config).samples
    age = samples.states[:, 0, 0] - samples.states[:, 1, 0]  # the first joint is the time
    torch.testing.assert_close(age, torch.full_like(age, 0.1), rtol=0, atol=0.0101)  # a joint message is 10 ms


@pytest.mark.parametrize("stills", [False, True])
def test_a_foreign_dataset_pairs_each_image_with_its_own_numbers(tmp_path, stills):
    """Three episodes in one file, which begins in the midst of others' frames: a frame that slips is a wrong label."""
    samples = read(foreign.write(tmp_path / "d", stills=stills)).samples
    frames = [(episode, k) for episode, length in enumerate(foreign.LENGTHS) for k in range(length)]
    assert len(samples) == len(frames)
    assert samples.episodes.tolist() == [episode for episode, _ in frames]
    for i, (episode, k) in enumerate(frames):
        assert (samples.images[i].float() - foreign.grey(episode, k)).abs().max() <= 2.0
        last = foreign.LENGTHS[episode] - 1
        np.testing.assert_allclose(samples.states[i], foreign.state(episode, k), atol=1e-6)
        for step in (1, 2):  # 0.1 s each: a frame
            wanted = foreign.action(episode, min(k + step, last))
            np.testing.assert_allclose(samples.actions[i, step - 1], wanted, atol=1e-5)
    assert not samples.valid.numel()


def test_labels_between_frames_are_interpolated(tmp_path):
    config = load_config("tiny", ["horizon=1", "method=none", "dt_s=0.05"])
    samples = read(foreign.write(tmp_path / "d"), config).samples
    half = (np.array(foreign.action(0, 3)) + foreign.action(0, 4)) / 2
    np.testing.assert_allclose(samples.actions[3, 0], half, atol=1e-5)


def test_methods_with_maps_need_boxes_and_say_how_to_get_them(tmp_path):
    root = foreign.write(tmp_path / "d")
    with pytest.raises(AutofocusError, match=r"no annotated objects for camera camera") as error:
        read(root, CONFIG)
    assert "autofocus annotate" in error.value.fix and "--method none" in error.value.fix
    found = read(foreign.write(tmp_path / "by_hand", annotated=True), CONFIG)
    assert found.objects == ("red cube",)
    assert found.samples.valid[:, 0, 0].tolist() == [k > 0 for n in foreign.LENGTHS for k in range(n)]


def test_an_image_that_no_name_tells_is_asked_for(tmp_path):
    root = foreign.write(tmp_path / "d", image_key="observation.images.top", more_images=("observation.images.side",))
    with pytest.raises(AutofocusError, match=r"observation\.images\.side") as error:
        opened(root)
    assert "--lerobot-camera camera=FEATURE" in error.value.fix
    chosen = open_dataset(root, bags.robot(), bags.task(), Choice({"camera": "observation.images.side"})).kept
    assert "observation.images.side" in str(chosen[0].videos[0][1])


def test_joints_are_found_by_name_in_whatever_order(tmp_path):
    root = foreign.write(tmp_path / "d", names=["gripper.pos", "two.pos", "one.pos"])
    samples = read(root).samples
    np.testing.assert_allclose(samples.states[0], foreign.state(0, 0)[::-1], atol=1e-6)
    again = read(root, joints=("one", "two", "gripper")).samples
    np.testing.assert_allclose(again.states[0], foreign.state(0, 0), atol=1e-6)


@pytest.mark.parametrize("names", [None, ["a", "b", "c"], ["one", "two", "two"], {"x": 0, "y": 1, "z": 2}])
def test_other_joint_names_are_refused(tmp_path, names):
    root = foreign.write(tmp_path / "d", names=names)
    if names is None:
        features = json.loads((root / "meta/info.json").read_text())["features"]
        features["action"]["names"] = None
        foreign.change_info(root, features=features)
    with pytest.raises(AutofocusError, match=r"one, two, gripper") as error:
        opened(root)
    assert "--lerobot-joints" in error.value.fix


def test_numbers_far_outside_the_joints_limits_are_another_unit(tmp_path):
    """SO-100 arms are recorded in degrees: as radians they would be dozens of turns."""
    root = foreign.write(tmp_path / "d")
    path = root / "data/chunk-000/file-000.parquet"
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    degrees = pyarrow.array([[57.3 * value for value in row] for row in table["action"].to_pylist()])
    pyarrow.parquet.write_table(table.set_column(table.column_names.index("action"), "action", degrees), path)
    with pytest.raises(AutofocusError, match="action of two") as error:
        read(root)
    assert "degrees" in error.value.fix


def test_only_episodes_of_the_task_are_taken_where_there_are_several(tmp_path):
    instruction = bags.TASK["instruction"]
    kept = opened(foreign.write(tmp_path / "d", tasks=("Push it.", instruction, "Push it.")))
    assert [episode.number for episode in kept] == [1]
    with pytest.raises(AutofocusError, match=r"tasks(.|\n)*'Pull it\.', 'Push it\.'"):
        opened(foreign.write(tmp_path / "other", tasks=("Push it.", "Pull it.", "Push it.")))


DAMAGE = {
    "an older version": (lambda root: foreign.change_info(root, codebase_version="v2.1"), r"v2\.1(.|\n)*convert_"),
    "no info": (lambda root: (root / "meta/info.json").unlink(), "no such file"),
    "info that is no JSON": (lambda root: (root / "meta/info.json").write_text("version 3"), "damaged"),
    "no video": (lambda root: shutil.rmtree(root / "videos"), r"videos/observation\.image/chunk-000/file-000\.mp4"),
    "no table": (lambda root: shutil.rmtree(root / "data"), r"data/chunk-000/file-000\.parquet"),
    "no episodes": (lambda root: shutil.rmtree(root / "meta/episodes"), "meta/episodes"),
    "a pointer instead of a table": (
        lambda root: (root / "data/chunk-000/file-000.parquet").write_text("version https://git-lfs"), "table of frames"
    ),
    "a pointer instead of a video": (
        lambda root: next(root.glob("videos/*/*/*.mp4")).write_text("version https://git-lfs"), "can be decoded"
    ),
    "half of it": (lambda root: foreign.change_info(root, total_frames=1000), "1000 frames"),
    "another rate": (lambda root: foreign.change_info(root, fps=15), r"timestamp 0\.1\d* s(.|\n)*15 fps"),
    "no rate": (lambda root: foreign.change_info(root, fps=0), "fps 0"),
    "another layout": (lambda root: foreign.change_info(root, data_path="../{chunk_index}.parquet"), "layout"),
    "a name that leads elsewhere": (
        lambda root: foreign.change_info(root, features={"../../x": {"dtype": "video"}}), "names of letters"
    ),
    "no actions": (
        lambda root: foreign.change_info(root, features={"observation.state": {"dtype": "float32"}}), "'action'"
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return foreign.write(tmp_path_factory.mktemp("foreign") / "d")


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_said(tmp_path, pristine, damage):
    root = shutil.copytree(pristine, tmp_path / "d")
    change, said = DAMAGE[damage]
    change(root)
    with pytest.raises(AutofocusError, match=said):
        read(root)


def test_a_frame_too_few_is_an_error_and_shifts_nothing(tmp_path, pristine, monkeypatch):
    """A video that lacks frame 3 of an episode: every later image would get the action of the one before."""
    root = shutil.copytree(pristine, tmp_path / "d")
    frames = [foreign.grey(episode, k) for episode, length in enumerate(foreign.LENGTHS) for k in range(length)]
    shutil.rmtree(root / "videos")
    foreign.write_video(root / "videos/observation.image/chunk-000/file-000.mp4", frames[:-1])
    with pytest.raises(AutofocusError, match="14 frames"):
        read(root)
    shutil.rmtree(root / "videos")
    monkeypatch.setattr(foreign, "FPS", 11)
    foreign.write_video(root / "videos/observation.image/chunk-000/file-000.mp4", frames)
    with pytest.raises(AutofocusError, match=r"frame \d+(.|\n)*10 fps"):
        read(root)


def test_an_image_of_another_size_than_the_robots_camera_is_refused(tmp_path, pristine):
    document = dict(bags.ROBOT, cameras=[dict(bags.ROBOT["cameras"][0], width_px=96)])
    robot = bags.parse_robot(bags.Fields(document, "robot"))
    with pytest.raises(AutofocusError, match=r"64x48(.|\n)*96x48"):
        load_dataset(open_dataset(pristine, robot, bags.task()).kept, robot, bags.task(), PLAIN)


def test_a_second_start_reads_the_cache_and_other_content_does_not(tmp_path, pristine, monkeypatch):
    root = shutil.copytree(pristine, tmp_path / "d")
    calls = []
    real = LerobotEpisode.read
    monkeypatch.setattr(LerobotEpisode, "read", lambda self, *rest: calls.append(self.number) or real(self, *rest))

    def start(**choice):
        found = load_cached(root / "cache", opened(root, **choice), bags.robot(), bags.task(), PLAIN)
        return found.samples.take(torch.arange(len(found.samples)))

    first = start()
    assert calls == [0, 1, 2]
    again = start()
    assert calls == [0, 1, 2]
    for name in ("images", "states", "actions", "stamps_ns"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    start(joints=("two", "one", "gripper"))
    assert calls == [0, 1, 2] * 2
    video = next(root.glob("videos/*/*/*.mp4"))
    video.write_bytes(video.read_bytes() + b"\0")
    start()
    assert calls == [0, 1, 2] * 3


def test_autofocus_train_learns_from_an_export_with_maps(both, tmp_path, capsys):
    """The whole way: `autofocus train --lerobot DIR` with gated keypoints, resumed from where it stopped or not."""
    root, _, _ = both
    (tmp_path / "robot.yaml").write_text(yaml.safe_dump(dict(
        bags.ROBOT, cameras=[bags.ROBOT["cameras"][0], {**bags.ROBOT["cameras"][0], "name": "wrist", "topic": "/wrist",
                                                       "info_topic": "/wrist/info"}])))  # fmt: skip
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(dict(bags.TASK, cameras=list(CAMERAS))))
    argv = ["--robot", str(tmp_path / "robot.yaml"), "--task", str(tmp_path / "task.yaml"), "--config", "tiny",
            "--set", "steps=2", "--workers", "0", "--device", "cpu", "--out", str(tmp_path / "run")]  # fmt: skip
    assert train.main(["--lerobot", str(root), *argv]) == 0
    assert "camera wrist: observation.images.wrist" in capsys.readouterr().out
    assert (tmp_path / "run/policy.pt").is_file() and (root / ".autofocus/cache").is_dir()
    with pytest.raises(SystemExit):
        train.parse(argv)
    with pytest.raises(SystemExit):
        train.parse(["episodes", "--lerobot", str(root), *argv])
