"""The dataset: images, states, actions and boxes of a sample belong to the same moment, or it is an error."""

from __future__ import annotations

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

CONFIG = load_config("tiny")


def dataset(*paths, config=CONFIG):
    return load_dataset([load_episode(p) for p in paths], bags.robot(), bags.task(), config)


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
