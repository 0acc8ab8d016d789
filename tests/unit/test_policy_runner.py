"""Loading a policy file and running it: what it answers, and everything for which it is refused."""

import dataclasses
import zipfile

import numpy as np
import policy_files as files
import pytest
import torch
from autofocus_core.errors import AutofocusError
from autofocus_core.manifest import ManifestCamera, check_fits
from autofocus_core.resample import Observation
from autofocus_policy.runner import PolicyRunner

ROBOT = files.SIM_ROBOT


def observation(waist_rad: float = 0.0, bright_left: bool = True) -> Observation:
    image = np.zeros((240, 320, 3), np.uint8)
    image[:, :160 if bright_left else 0] = 200
    state = np.array(ROBOT.start.pose)
    state[0] = waist_rad
    return Observation(5_000_000_000, {"camera": image}, {"camera": 5_000_000_000}, state, 4_995_000_000)


def test_act(tmp_path):
    runner = PolicyRunner(files.write_policy(tmp_path / "p.pt"), ROBOT)
    chunk = runner.act(observation())
    assert (chunk.stamp_ns, chunk.dt_s) == (5_000_000_000, 0.1)
    assert chunk.positions.shape == (8, 6) and chunk.positions.dtype == np.float64
    steps = np.diff(chunk.positions, axis=0)
    np.testing.assert_allclose(steps, 0.02, atol=1e-6)  # a bright left half: balance saturates tanh
    np.testing.assert_allclose(chunk.positions[0], observation().state + 0.02, atol=1e-6)
    np.testing.assert_allclose(chunk.attention.sum((1, 2)), 1.0, rtol=1e-5)
    assert not np.array_equal(runner.act(observation(bright_left=False)).positions, chunk.positions)


def test_the_same_observation_gives_the_same_chunk(tmp_path):
    runner = PolicyRunner(files.write_policy(tmp_path / "p.pt"), ROBOT)
    first, second = runner.act(observation()), runner.act(observation())
    np.testing.assert_array_equal(first.positions, second.positions)


@pytest.mark.parametrize(("module", "words"), [
    (files.WrongShape(), "(1, 7, 6)"), (files.WrongDtype(), "float64"), (files.WrongAttention(), "attention"),
    (files.OneTensor(), "tuple of two tensors"), (files.NotANumber(), "not finite")])
def test_f20_wrong_output_is_refused_at_loading(module, words, tmp_path):
    with pytest.raises(AutofocusError) as e:
        PolicyRunner(files.write_policy(tmp_path / "p.pt", module), ROBOT)
    assert words in str(e.value)


@pytest.mark.parametrize(
    ("module", "words"), [(files.NotANumberLater(), "not finite"), (files.RaisesLater(), "no idea")])
def test_wrong_output_later_is_refused_too(module, words, tmp_path):
    runner = PolicyRunner(files.write_policy(tmp_path / "p.pt", module), ROBOT)
    runner.act(observation(waist_rad=0.4))
    with pytest.raises(AutofocusError, match=words):
        runner.act(observation(waist_rad=0.6))


def test_a_damaged_module_is_refused(tmp_path):
    """Our manifest and the right entries, but code that torch cannot load."""
    good = files.write_policy(tmp_path / "p.pt")
    bad = tmp_path / "bad.pt"
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as out:
        for name in source.namelist():
            out.writestr(name, b"nonsense(" if name.endswith("policy_files.py") else source.read(name))
    with pytest.raises(AutofocusError, match="jit refuses"):
        PolicyRunner(bad, ROBOT)


def test_frames_of_another_size_are_refused(tmp_path):
    runner = PolicyRunner(files.write_policy(tmp_path / "p.pt"), ROBOT)
    small = dataclasses.replace(observation(), images={"camera": np.zeros((120, 160, 3), np.uint8)})
    with pytest.raises(AutofocusError, match="240, 320"):
        runner.act(small)


@pytest.mark.parametrize(("change", "words"), [
    ({"joints": tuple(reversed(ROBOT.joint_names))}, "joints in order"),
    ({"joints": ("a", *ROBOT.joint_names[1:])}, "joints in order"),
    ({"units": ("m",) * 6}, "units"),
    ({"cameras": (ManifestCamera("wrist", 320, 240),)}, "'wrist'"),
    ({"cameras": (ManifestCamera("camera", 640, 480),)}, "640x480"),
    ({"control_rate_hz": 30.0}, "control_rate_hz"),
    ({"horizon": 1, "dt_s": 0.05}, "horizon"),
])
def test_a_policy_for_another_robot_is_refused(change, words):
    check_fits(files.manifest_for(ROBOT), ROBOT)
    with pytest.raises(AutofocusError) as e:
        check_fits(files.manifest_for(ROBOT, **change), ROBOT)
    assert words in str(e.value)


def test_every_difference_is_listed():
    change = {"joints": tuple(reversed(ROBOT.joint_names)), "control_rate_hz": 30.0,
              "cameras": (ManifestCamera("camera", 640, 480), ManifestCamera("wrist", 640, 480))}
    with pytest.raises(AutofocusError) as e:
        check_fits(files.manifest_for(ROBOT, **change), ROBOT)
    for words in ("joints in order", "control_rate_hz", "'camera'", "'wrist'", "640x480", "320x240"):
        assert words in str(e.value)


@pytest.mark.parametrize(("device", "words"), [("gpu", "cpu | cuda | cuda:N"), ("cuda:x", "cuda:N"), ("", "cuda:N")])
def test_an_unknown_device_is_refused(device, words, tmp_path):
    with pytest.raises(AutofocusError) as e:
        PolicyRunner(files.write_policy(tmp_path / "p.pt"), ROBOT, device=device)
    assert words in str(e.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_gpu_that_is_not_there_is_refused_with_the_remedy(device, tmp_path):
    with pytest.raises(AutofocusError) as e:
        PolicyRunner(files.write_policy(tmp_path / "p.pt"), ROBOT, device=device)
    assert "sees no GPU" in str(e.value) and "device:=cpu" in e.value.fix


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_answers_as_the_cpu_does(tmp_path):
    path = files.write_policy(tmp_path / "p.pt")
    here, there = PolicyRunner(path, ROBOT), PolicyRunner(path, ROBOT, device="cuda")
    for left in (True, False):
        mine, theirs = here.act(observation(bright_left=left)), there.act(observation(bright_left=left))
        np.testing.assert_allclose(mine.positions, theirs.positions, atol=1e-5)
        np.testing.assert_allclose(mine.attention, theirs.attention, atol=1e-5)


def test_one_answer_is_not_changed_by_the_next(tmp_path):
    """Memory for the inputs is used again; answers have their own."""
    runner = PolicyRunner(files.write_policy(tmp_path / "p.pt"), ROBOT)
    first = runner.act(observation())
    positions, attention = first.positions.copy(), first.attention.copy()
    runner.act(observation(waist_rad=0.4, bright_left=False))
    np.testing.assert_array_equal(first.positions, positions)
    np.testing.assert_array_equal(first.attention, attention)


def test_a_frame_that_may_not_be_written_is_seen_as_well(tmp_path):
    """torch shares no read-only memory: such a frame goes through the runner's own."""
    runner = PolicyRunner(files.write_policy(tmp_path / "p.pt"), ROBOT)
    locked = observation()
    locked.images["camera"].flags.writeable = False
    np.testing.assert_array_equal(runner.act(locked).positions, runner.act(observation()).positions)
