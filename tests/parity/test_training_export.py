"""The policy file gives the same actions as the checkpoint, from the camera's own frames, or it is not written."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import training_bags as bags
from autofocus_core.episode import load_episode
from autofocus_core.errors import AutofocusError
from autofocus_core.manifest import read_manifest
from autofocus_training import export, train
from autofocus_training.config import METHODS, load_config
from autofocus_training.data import load_dataset
from autofocus_training.images import to_unit


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("episodes")
    paths = [bags.write_episode(folder / name, frames=16) for name in ("e0", "e1", "e2")]
    return load_dataset([load_episode(p) for p in paths], bags.robot(), bags.task(), load_config("tiny"))


def trained(dataset, method: str):
    return train.run(dataset, bags.robot(), bags.task(), load_config("tiny", ["steps=5", f"method={method}"]))[0]


@pytest.mark.parametrize("method", METHODS)
def test_file_and_training_agree_from_frame_to_joints(dataset, tmp_path, method):
    """All the way: bytes of the camera in, absolute joints out, against the network fed from the training cache."""
    checkpoint = trained(dataset, method)
    path = tmp_path / "policy.pt"
    assert export.export_policy(checkpoint, path) <= export.TOLERANCE
    deployed = torch.jit.load(str(path))
    first = [(dataset.samples.episodes == e).nonzero()[0, 0].item() for e in range(3)]
    with torch.no_grad():
        actions, attention = deployed(dataset.probe_images, dataset.probe_states)
        normaliser = checkpoint.normaliser
        scores, _ = checkpoint.network(
            to_unit(dataset.samples.images[first]), normaliser.states(dataset.samples.states[first])
        )
        wanted = normaliser.absolute(scores, dataset.samples.states[first])
    torch.testing.assert_close(actions, wanted, atol=1e-5, rtol=0)
    assert actions.shape == (3, 3, 3) and actions.dtype == torch.float32
    assert attention.shape[:2] == (3, 2 if method == "gated" else 1)
    torch.testing.assert_close(attention.sum((-2, -1)), torch.ones(attention.shape[:2]))


def test_manifest_comes_back_from_the_file(dataset, tmp_path):
    checkpoint = trained(dataset, "gated")
    export.export_policy(checkpoint, tmp_path / "policy.pt")
    manifest = read_manifest(tmp_path / "policy.pt")
    assert manifest == checkpoint.manifest
    assert manifest.joints == bags.JOINTS and manifest.units == ("rad", "rad", "m")
    assert manifest.dataset_hash == dataset.hash and manifest.image_size == (24, 32)


def test_a_file_that_would_behave_otherwise_is_not_written(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "largest_difference", lambda *args: 0.01)
    with pytest.raises(AutofocusError, match=r"differ by 0\.01"):
        export.export_policy(trained(dataset, "none"), tmp_path / "policy.pt")
    assert list(tmp_path.iterdir()) == []


def test_the_file_runs_without_this_project(dataset, tmp_path):
    """The policy node's process has torch and no training code."""
    path = tmp_path / "policy.pt"
    export.export_policy(trained(dataset, "gated"), path)
    code = (
        "import sys, torch\n"
        f"policy = torch.jit.load({str(path)!r})\n"
        f"out = policy(torch.zeros(1, 1, {bags.HEIGHT}, {bags.WIDTH}, 3, dtype=torch.uint8), torch.zeros(1, 3))\n"
        "assert out[0].shape == (1, 3, 3)\n"
        "assert not any(name.startswith('autofocus') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)
