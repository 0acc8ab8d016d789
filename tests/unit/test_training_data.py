"""The dataset: images, states, actions and boxes of a sample belong to the same moment, or it is an error."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import training_bags as bags
from autofocus_core.episode import load_episode
from autofocus_core.episode_meta import Trim
from autofocus_core.errors import AutofocusError
from autofocus_training.config import load_config
from autofocus_training.data import action_chunks, load_dataset
from autofocus_training.images import resize_frames
from autofocus_training.samples import STD_FLOOR, Normaliser, Samples, StoredImages

CONFIG = load_config("tiny")


def dataset(*paths, config=CONFIG, workers=0):
    return load_dataset([load_episode(p) for p in paths], bags.robot(), bags.task(), config, workers=workers)


def test_every_sample_is_of_one_moment(tmp_path):
    """30 Hz images, 100 Hz joints, 10 Hz actions: whatever the rates, the red value tells the frame, the frame tells
    the stamp, and the stamp tells joints, actions and box."""
    found = dataset(bags.write_episode(tmp_path / "e0"))
    samples = found.samples
    assert len(samples) > 20 and found.objects == bags.OBJECTS
    numbers = samples.images[:, 0, 0, 0, 0].long()
    stamps = bags.START_NS + numbers * bags.FRAME_NS
    assert torch.equal(samples.stamps_ns, stamps)
    for i, stamp in enumerate(stamps.tolist()):
        # The state is the last one stamped at or before the image: at most one period (10 ms) old.
        newest = bags.joints_at(stamp - (stamp - bags.START_NS) % 10_000_000)
        np.testing.assert_allclose(samples.states[i], newest, atol=1e-6)
        wanted = np.stack([bags.intent_at(stamp + k * 100_000_000) for k in (1, 2, 3)])
        last = bags.intent_at(bags.START_NS + 900_000_000)
        np.testing.assert_allclose(samples.actions[i], np.minimum(wanted, last), atol=1e-5)
        scale = CONFIG.image_height_px / bags.HEIGHT
        np.testing.assert_allclose(samples.boxes_px[i, 0, 0], bags.box_at(int(numbers[i])) * scale, atol=0.01)
    assert found.left_out == {"after the last action": 2}


def test_frames_are_cached_as_the_policy_file_will_see_them(tmp_path):
    found = dataset(bags.write_episode(tmp_path / "e0", frames=12))
    native = torch.from_numpy(bags.picture(5))[None]
    wanted = resize_frames(native, *CONFIG.image_size)
    row = (found.samples.stamps_ns == bags.START_NS + 5 * bags.FRAME_NS).nonzero().item()
    assert torch.equal(found.samples.images[row], wanted)
    assert found.probe_images.shape == (1, 1, bags.HEIGHT, bags.WIDTH, 3)


def test_a_corrupt_frame_is_an_error_that_names_it(tmp_path):
    """The reference skipped an unreadable frame, which shifted every later image against its action."""
    path = bags.write_episode(tmp_path / "e0", corrupt=7)
    with pytest.raises(AutofocusError) as caught:
        dataset(path)
    message = str(caught.value)
    assert "e0" in message and "/image" in message and str(bags.START_NS + 7 * bags.FRAME_NS) in message


def test_frames_without_a_valid_box_stay_samples(tmp_path):
    found = dataset(bags.write_episode(tmp_path / "e0", invalid=(3, 4)))
    numbers = found.samples.images[:, 0, 0, 0, 0]
    assert found.samples.valid[:, 0, 0].tolist() == [int(n) not in (3, 4) for n in numbers]
    assert found.samples.valid[:, 0, 1].all()


def test_an_object_that_is_never_seen_is_left_out(tmp_path):
    found = dataset(bags.write_episode(tmp_path / "e0", frames=12, invalid=tuple(range(12))))
    assert found.objects == ("gripper",) and found.samples.valid.shape[2] == 1


def test_a_missing_annotation_names_the_remedy_and_plain_cloning_needs_none(tmp_path):
    path = bags.write_episode(tmp_path / "e0", annotate=False)
    with pytest.raises(AutofocusError, match="autofocus annotate"):
        dataset(path)
    found = dataset(path, config=load_config("tiny", ["method=none"]))
    assert found.objects == () and found.samples.valid.shape[1:] == (1, 0)


def test_stride_takes_every_nth_frame(tmp_path):
    found = dataset(bags.write_episode(tmp_path / "e0"), config=load_config("tiny", ["anchor_stride=4"]))
    assert found.samples.images[:, 0, 0, 0, 0].tolist() == list(range(0, 28, 4))


def test_hash_knows_recording_annotation_and_settings(tmp_path):
    a = bags.write_episode(tmp_path / "e0", frames=12)
    assert dataset(a).hash == dataset(a).hash
    assert dataset(a).hash != dataset(a, config=load_config("tiny", ["horizon=2"])).hash
    b = bags.write_episode(tmp_path / "e1", frames=12, invalid=(3,))
    assert dataset(a).hash != dataset(b).hash


def test_only_what_is_inside_the_trim_is_learned_from(tmp_path):
    """Frames 6 to 20 of 30; and after the end the last action inside holds, as if the episode had stopped there."""
    path = bags.write_episode(tmp_path / "e0")
    whole = dataset(path)
    start_ns, end_ns = (bags.START_NS + number * bags.FRAME_NS for number in (6, 20))
    bags.write_sidecar(path, trim=Trim(start_ns, end_ns, "by hand"))
    found = dataset(path)
    assert found.samples.images[:, 0, 0, 0, 0].tolist() == list(range(6, 19))  # the last action inside is at 0.6 s
    assert found.left_out["outside the trim"] == 15
    assert found.left_out["after the last action"] == 2
    last = bags.intent_at(bags.START_NS + 600_000_000)
    for stamp, chunk in zip(found.samples.stamps_ns.tolist(), found.samples.actions, strict=True):
        wanted = np.stack([bags.intent_at(stamp + k * 100_000_000) for k in (1, 2, 3)])
        np.testing.assert_allclose(chunk, np.minimum(wanted, last), atol=1e-5)
    assert found.hash != whole.hash
    bags.write_sidecar(path, trim=Trim(start_ns, end_ns - 1, "by hand"))
    assert dataset(path).hash not in (found.hash, whole.hash)
    bags.write_sidecar(path, trim=None, note="a sidecar alone changes nothing")
    assert dataset(path).hash == whole.hash


def test_gaps_and_edges_of_the_actions():
    stamps = np.array([0, 100, 200, 900]) * 1_000_000
    actions = np.array([[0.0], [1.0], [2.0], [9.0]])
    anchors = np.array([-200, 0, 50, 150, 950]) * 1_000_000
    found = action_chunks(stamps, actions, anchors, 1, 0.1, 300_000_000)
    assert found[0] == "before the first action" and found[3] == "gap in the actions"
    assert found[4] == "after the last action"
    np.testing.assert_allclose(found[1], [[1.0]])
    np.testing.assert_allclose(found[2], [[1.5]])


def test_no_usable_frame_says_why(tmp_path):
    """Frames only after the operator's last action: nothing to learn, and the reason is in the error."""
    path = bags.write_episode(tmp_path / "e0", frames=6, actions_end=-1)
    with pytest.raises(AutofocusError, match="6 frames: after the last action"):
        dataset(path)


def test_several_processes_read_the_same_and_their_errors_arrive(tmp_path):
    paths = [bags.write_episode(tmp_path / f"e{k}", frames=12 + k) for k in range(5)]
    one, two = dataset(*paths), dataset(*paths, workers=2)
    for name in Samples.__slots__:
        same = torch.equal if name != "boxes_px" else lambda a, b: torch.equal(a.nan_to_num(), b.nan_to_num())
        assert same(getattr(one.samples, name), getattr(two.samples, name)), name
    assert one.left_out == two.left_out and one.hash == two.hash
    broken = bags.write_episode(tmp_path / "broken", corrupt=7)
    with pytest.raises(AutofocusError, match=str(bags.START_NS + 7 * bags.FRAME_NS)):
        dataset(*paths, broken, workers=2)


def test_earlier_joint_states_are_those_of_their_own_times(tmp_path):
    """state_history=3: at t, t - 0.1 s, t - 0.2 s; frames without so much of a past are counted under their reason."""
    found = dataset(bags.write_episode(tmp_path / "e0"), config=load_config("tiny", ["state_history=3"]))
    first = bags.START_NS - 10_000_000  # of the joints
    for stamp, states in zip(found.samples.stamps_ns.tolist(), found.samples.states, strict=True):
        for k in range(3):
            t = stamp - k * 100_000_000
            np.testing.assert_allclose(states[k], bags.joints_at(t - (t - first) % 10_000_000), atol=1e-6)
    assert found.samples.stamps_ns.min() - first >= 200_000_000
    assert sum(count for reason, count in found.left_out.items() if "earlier" in reason) == 6
    assert found.probe_states.shape == (1, 3, 3)


def test_history_and_targets_reach_the_network_as_configured(tmp_path):
    """P * A states, the present one first; absolute targets are z-scores of the targets themselves."""
    found = dataset(bags.write_episode(tmp_path / "e0"), config=load_config("tiny", ["state_history=2"])).samples
    for relative in (torch.tensor([1.0, 1.0, 0.0]), torch.zeros(3)):
        normaliser = Normaliser.fit(found.states, found.actions, relative)
        assert normaliser.states(found.states).shape == (len(found), 6)
        torch.testing.assert_close(normaliser.states(found.states)[:, :3], normaliser.states(found.states[:, 0]))
        scores = normaliser.actions(found.actions, found.states)
        torch.testing.assert_close(normaliser.absolute(scores, found.states), found.actions)
    scale = found.actions.std(0, correction=0).clamp(min=STD_FLOOR)
    torch.testing.assert_close(scores, (found.actions - found.actions.mean(0)) / scale)


def test_only_the_objects_that_the_config_names_are_used(tmp_path):
    path = bags.write_episode(tmp_path / "e0", frames=12)
    found = dataset(path, config=load_config("tiny", ["objects=[gripper]"]))
    assert found.objects == ("gripper",) and found.samples.boxes_px[0, 0].shape == (1, 4)
    assert found.samples.boxes_px[0, 0, 0, 0] == 30.0 * CONFIG.image_width_px / bags.WIDTH
    assert dataset(path, config=load_config("tiny", ["objects=[gripper, red cube]"])).objects == bags.OBJECTS[::-1]
    with pytest.raises(AutofocusError, match="'blue bowl'") as caught:
        dataset(path, config=load_config("tiny", ["objects=[gripper, blue bowl]"]))
    assert "'red cube', 'gripper'" in str(caught.value)
    unseen = bags.write_episode(tmp_path / "e1", frames=12, invalid=tuple(range(12)))
    with pytest.raises(AutofocusError, match="'red cube' without one valid box"):
        dataset(unseen, config=load_config("tiny", ["objects=[red cube]"]))
    assert dataset(unseen, config=load_config("tiny", ["objects=[red cube]", "method=none"])).objects == ()


def test_the_window_holds_the_camera_s_own_frames_before(tmp_path):
    """saliency_window=3 with every second frame a sample: the frames before are the camera's, not the samples'."""
    config = load_config("tiny", ["saliency_window=3", "saliency_alpha=0.7", "anchor_stride=2"])
    found = dataset(bags.write_episode(tmp_path / "e0", invalid=(5,)), config=config).samples
    scale = config.image_height_px / bags.HEIGHT
    for i, number in enumerate(found.images[:, 0, 0, 0, 0].tolist()):
        for j in (1, 2):
            known = number - j >= 0 and number - j != 5
            assert bool(found.earlier_valid[i, 0, 0, j - 1]) is known
            if known:
                x0, y0, x1, y1 = bags.box_at(number - j) * scale
                np.testing.assert_allclose(found.earlier_px[i, 0, 0, j - 1], [(x0 + x1) / 2, (y0 + y1) / 2], rtol=1e-5)


def test_two_cameras_each_with_the_boxes_of_its_own_frames(tmp_path):
    """The wrist camera's frames come 10 ms later, so at an anchor its last one is the one before."""
    cameras = ("camera", "wrist")
    episode = load_episode(bags.write_episode(tmp_path / "e0", wrist=True))
    found = load_dataset([episode], bags.robot(cameras), bags.task(cameras), CONFIG)
    samples, scale = found.samples, CONFIG.image_height_px / bags.HEIGHT
    assert samples.images.shape[1:] == (2, *CONFIG.image_size, 3) and found.probe_images.shape[1] == 2
    assert found.left_out["camera wrist: no message within 200 ms before"] == 1
    numbers = samples.images[:, 0, 0, 0, 0].long()
    assert torch.equal(samples.images[:, 1, 0, 0, 1].long(), numbers - 1)
    for i, number in enumerate(numbers.tolist()):
        wanted = (bags.box_at(number - 1) + np.array([0, 20, 0, 20])) * scale
        np.testing.assert_allclose(samples.boxes_px[i, 1, 0], wanted, atol=0.01)
    assert samples.valid[:, 1].tolist() == [[True, False]] * len(samples), "the gripper is not annotated there"
    with pytest.raises(AutofocusError, match="wrist 80x48"):
        load_dataset([episode], bags.robot(cameras, width_px=80), bags.task(cameras), CONFIG)


def test_training_and_held_out_images_of_a_cache_stay_on_the_disk():
    """Splitting copied all images into memory, which a cache is there to avoid."""
    store = np.arange(6 * 4 * 4 * 3, dtype=np.uint8).reshape(6, 1, 4, 4, 3)
    episodes = torch.tensor([0, 0, 1, 1, 2, 2])
    plain = Samples(torch.from_numpy(store), torch.randn(6, 3), torch.randn(6, 2, 3), torch.zeros(6, 1, 0, 4),
                    torch.zeros(6, 1, 0, dtype=torch.bool), episodes, torch.arange(6))  # fmt: skip
    stored = dataclasses.replace(plain, images=StoredImages(store, torch.arange(6)))
    for ours, theirs in zip(stored.split(1, seed=0), plain.split(1, seed=0), strict=True):
        assert isinstance(ours.images, StoredImages) and ours.images.store is store
        assert ours.images.shape == theirs.images.shape
        index = torch.arange(len(ours)).flip(0)
        assert torch.equal(ours.take(index).images, theirs.take(index).images)
