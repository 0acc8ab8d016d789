"""The loop learns, stops on nonsense, repeats itself, and `autofocus train` leaves what it promises."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
import training_bags as bags
from autofocus_core.errors import AutofocusError
from autofocus_core.manifest import check_fits, read_manifest
from autofocus_training import train
from autofocus_training.checkpoint import load_checkpoint
from autofocus_training.config import METHODS
from autofocus_training.export import main as export_main
from autofocus_training.fit import fit, held_out_loss, warmup_cosine
from autofocus_training.images import to_unit
from autofocus_training.loader import indices
from autofocus_training.samples import Normaliser
from tiny_samples import RELATIVE, config, samples


@pytest.mark.parametrize("method", METHODS)
def test_every_method_overfits_two_batches(method):
    found: list[float] = []
    setting = config(f"method={method}", "steps=120", "jitter=0", "batch_size=8", "saliency_weight=0.1")
    network, normaliser = fit(samples(), RELATIVE, setting, lambda step, parts: found.append(parts["imitation"]))
    assert sum(found[-4:]) / 4 < 0.1 * found[0]
    assert held_out_loss(network, normaliser, samples(), setting) < 0.1


@pytest.mark.parametrize("policy", ["act", "diffusion"])
def test_every_policy_overfits_two_batches(policy):
    setting = config(f"policy={policy}", "steps=150", "jitter=0", "batch_size=8", "learning_rate=3e-3")
    network, normaliser = fit(samples(), RELATIVE, setting)
    assert held_out_loss(network, normaliser, samples(), setting) < 0.3


def test_the_same_seed_gives_the_same_policy_and_another_one_another():
    def weights(seed: int) -> torch.Tensor:
        network, _ = fit(samples(), RELATIVE, config("steps=3", f"seed={seed}", "paste_shapes=2", "shift_px=2"))
        return torch.cat([p.flatten() for p in network.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_a_non_finite_loss_stops_the_run_and_shows_its_parts():
    broken = dataclasses.replace(samples(), states=torch.full((16, 3), math.nan))
    with pytest.raises(AutofocusError, match="imitation nan, saliency"):
        fit(broken, RELATIVE, config("steps=3"))


def test_a_saliency_method_without_annotated_objects_is_refused():
    bare = dataclasses.replace(samples(), valid=torch.zeros(16, 1, 1, dtype=torch.bool))
    with pytest.raises(AutofocusError, match="autofocus annotate"):
        fit(bare, RELATIVE, config("steps=3"))
    fit(bare, RELATIVE, config("steps=3", "method=none"))


def test_samples_without_valid_objects_train_the_policy():
    """Half of the samples have no map: their actions are learned all the same."""
    half = samples()
    half.valid[8:] = False
    setting = config("steps=120", "jitter=0")
    network, normaliser = fit(half, RELATIVE, setting)
    assert held_out_loss(network, normaliser, half.take(torch.arange(8, 16)), setting) < 0.2


def test_paste_without_annotated_objects_is_refused():
    bare = samples()
    bare = dataclasses.replace(bare, boxes_px=bare.boxes_px[:, :, :0], valid=bare.valid[:, :, :0])
    with pytest.raises(AutofocusError, match="paste_shapes"):
        fit(bare, RELATIVE, config("method=none", "paste_shapes=2", "steps=2"))


def test_gripper_noise_makes_the_policy_look_elsewhere():
    """Without it the gripper's own position tells the gripper's command, which runs away as soon as it errs."""
    data = samples()
    data.states[:, 2] = data.actions[:, 0, 0]  # as if the gripper's opening gave everything away

    def dependence(noise: float) -> float:
        setting = config("method=none", "steps=80", "jitter=0", f"gripper_noise={noise}")
        network, normaliser = fit(data, RELATIVE, setting)
        moved = normaliser.states(data.states)
        images = to_unit(data.images)
        with torch.no_grad():
            here = network(images, moved)[0]
            there = network(images, moved + torch.tensor([0.0, 0.0, 0.5]))[0]
        return (there - here).abs().mean().item()

    assert dependence(2.0) < 0.7 * dependence(0.0)


def test_schedule_warms_up_and_ends_at_zero():
    setting = config("steps=100", "warmup_steps=10")
    factors = [warmup_cosine(step, setting) for step in range(101)]
    assert factors[0] == pytest.approx(0.1) and factors[9] == factors[10] == 1.0
    assert factors[100] == pytest.approx(0.0) and factors[10:] == sorted(factors[10:], reverse=True)


def test_an_epoch_visits_every_sample_once():
    epochs = [torch.cat([indices(10, 5, seed=0, step=step) for step in steps]).tolist() for steps in ((0, 1), (2, 3))]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert epochs[0] != epochs[1]
    assert len(indices(3, 64, seed=0, step=7)) == 3


def test_normalisation_comes_back():
    data = samples()
    normaliser = Normaliser.fit(data.states, data.actions, RELATIVE)
    scores = normaliser.actions(data.actions, data.states)
    torch.testing.assert_close(normaliser.absolute(scores, data.states), data.actions)
    torch.testing.assert_close(scores[..., :2].std(0, correction=0), torch.ones(3, 2), atol=1e-3, rtol=0)
    # The third joint never moves: the floor keeps its score finite.
    assert scores.isfinite().all()


def test_held_out_episodes_are_whole_and_the_same_for_every_seed():
    training, held = samples().split(1, seed=0)
    assert len(held) == 4 and len(held.episodes.unique()) == 1
    assert not set(training.episodes.tolist()) & set(held.episodes.tolist())
    everything, none = samples(4).split(5, seed=0)
    assert len(everything) == 4 and len(none) == 0, "one episode always stays for training"


def test_train_leaves_a_checkpoint_a_policy_that_fits_its_robot_and_a_history(recorded, capsys):
    assert train.main(bags.train_arguments(recorded, "out", "--seed", "2", "--set", "steps=4")) == 0
    out = recorded / "out"
    manifest = read_manifest(out / "policy.pt")
    check_fits(manifest, bags.robot())
    checkpoint = load_checkpoint(out / "checkpoint.pt")
    assert checkpoint.manifest == manifest
    assert manifest.objects == bags.OBJECTS and manifest.horizon == 3 and manifest.method == "gated"
    assert (checkpoint.config.seed, checkpoint.config.steps) == (2, 4)
    history = json.loads((out / "history.json").read_text())
    assert history["samples"] > 0 and history["held_out_samples"] > 0 and math.isfinite(history["held_out"])
    assert "policy.pt" in capsys.readouterr().out
    (out / "policy.pt").unlink()
    assert export_main([str(out)]) == 0
    assert read_manifest(out / "policy.pt") == manifest


def test_a_checkpoint_that_is_none_says_so(tmp_path):
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(AutofocusError, match="no such file"):
        load_checkpoint(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(AutofocusError, match="not readable"):
        load_checkpoint(path)
    torch.save({"weights": torch.zeros(2)}, path)
    with pytest.raises(AutofocusError, match="autofocus train"):
        load_checkpoint(path)
