"""The policy file gives the same actions as the checkpoint, from the camera's own frames, or it is not written."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import tiny_backbones
import torch
import training_bags as bags
from autofocus_core.episode import load_episode
from autofocus_core.errors import AutofocusError
from autofocus_core.manifest import ManifestCamera, read_manifest
from autofocus_training import export, train
from autofocus_training.batch import Shapes
from autofocus_training.checkpoint import Checkpoint
from autofocus_training.config import load_config
from autofocus_training.data import load_dataset
from autofocus_training.images import to_unit
from autofocus_training.methods import build_network
from autofocus_training.names import METHODS, POLICIES
from autofocus_training.samples import Normaliser


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("episodes")
    paths = [bags.write_episode(folder / name, frames=16) for name in ("e0", "e1", "e2")]
    return load_dataset([load_episode(p) for p in paths], bags.robot(), bags.task(), load_config("tiny"))


def trained(dataset, method: str):
    return train.run(dataset, bags.robot(), bags.task(), load_config("tiny", ["steps=5", f"method={method}"]))[0]


def fresh(dataset, cameras: int, *overrides: str) -> Checkpoint:
    """As at the first step: a network with random weights, noise to probe it with, a manifest that fits."""
    rng = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    config = load_config("tiny", list(overrides))
    data = dataset.samples
    normaliser = Normaliser.fit(data.states, data.actions, train.relative_joints(bags.robot(), config))
    manifest = train.make_manifest(dataset, bags.robot(), bags.task(), config, normaliser)
    manifest = dataclasses.replace(
        manifest, cameras=tuple(ManifestCamera(f"camera{n}", bags.WIDTH, bags.HEIGHT) for n in range(cameras))
    )
    network = build_network(config, Shapes(cameras, len(manifest.objects), len(manifest.joints), config.image_size))
    images = torch.randint(0, 256, (3, cameras, bags.HEIGHT, bags.WIDTH, 3), generator=rng, dtype=torch.uint8)
    return Checkpoint(network.eval(), normaliser, config, manifest, images, data.states[:3])


@pytest.mark.parametrize("cameras", [1, 2])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("method", METHODS)
def test_every_policy_and_method_is_exported_as_it_is(dataset, tmp_path, method, policy, cameras):
    """Eager network and file agree, from bytes of the cameras to joints and attention."""
    checkpoint = fresh(dataset, cameras, f"method={method}", f"policy={policy}")
    path = tmp_path / "policy.pt"
    assert export.export_policy(checkpoint, path) <= export.TOLERANCE
    deployed = torch.jit.load(str(path))
    eager = export.DeployedPolicy(checkpoint.network, checkpoint.normaliser, checkpoint.config.image_size).eval()
    with torch.no_grad():
        wanted, found = (part(checkpoint.probe_images, checkpoint.probe_states) for part in (eager, deployed))
        again = deployed(checkpoint.probe_images, checkpoint.probe_states)
    assert found[0].shape == (3, 3, 3) and torch.equal(found[0], again[0]), "the same answer to the same question"
    assert found[1].shape[1] == cameras * (2 if method in ("gated", "gated-tight") else 1)
    torch.testing.assert_close(found[0], wanted[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1], wanted[1], atol=1e-5, rtol=0)


def test_what_only_training_needs_is_not_in_the_file(dataset, tmp_path):
    """Oreo's VQ-VAE, GRIL's head, ACT's CVAE encoder: the file is no larger than that of plain cloning."""

    def size(*overrides: str) -> int:
        export.export_policy(fresh(dataset, 1, *overrides), tmp_path / "policy.pt")
        return (tmp_path / "policy.pt").stat().st_size

    plain = size("method=none")
    assert size("method=oreo") < 1.01 * plain > size("method=gril")
    act = fresh(dataset, 1, "method=none", "policy=act")
    weights = sum(p.numel() for p in act.network.actor.parameters()) * 4
    unused = sum(p.numel() for p in act.network.actor.head.posterior.parameters()) * 4
    assert unused > 0.1 * weights and size("method=none", "policy=act") < weights


@pytest.mark.parametrize("encoder", ["resnet", "resnet18"])
def test_every_encoder_is_exported_as_it_is(dataset, tmp_path, encoder):
    checkpoint = fresh(dataset, 1, "method=igmd", f"encoder={encoder}", "image_height_px=48", "image_width_px=64")
    assert export.export_policy(checkpoint, tmp_path / "policy.pt") <= export.TOLERANCE


@pytest.mark.parametrize(("kind", "method"), [("resnet", "visarl"), ("dinov2", "agil"), ("vit", "none")])
def test_a_pretrained_encoder_is_traced_into_the_file(dataset, tmp_path, kind, method):
    """TorchScript cannot compile transformers' code. Tiny models with random weights, saved by this test."""
    pytest.importorskip("transformers", reason="saliency_server[transformers] is not installed")
    tiny_backbones.save(kind, tmp_path / "model")
    sizes = ("image_height_px=48", "image_width_px=64")
    checkpoint = fresh(dataset, 1, f"method={method}", "encoder=pretrained", f"pretrained={tmp_path / 'model'}", *sizes)
    assert export.export_policy(checkpoint, tmp_path / "policy.pt") <= export.TOLERANCE


@pytest.mark.parametrize("method", ["none", "gated", "mask"])
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
    assert attention.shape[:2] == (3, 2 if method in ("gated", "gated-tight") else 1)
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
