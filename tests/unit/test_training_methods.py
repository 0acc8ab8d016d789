"""Policies and saliency losses: shapes, what the gate lets through, and which samples count for what."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from autofocus_core import saliency
from autofocus_training.batch import Shapes, Targets
from autofocus_training.config import METHODS, load_config
from autofocus_training.methods import LOSSES, build_network
from autofocus_training.policies import GatedPolicy, expected_position, spatial_softmax

SIZE = (72, 96)


def targets(centres, valid=None) -> Targets:
    """B samples, one camera, K objects."""
    centres = torch.tensor(centres, dtype=torch.float32)[:, None, :, None]
    known = torch.ones(centres.shape[:4], dtype=torch.bool) if valid is None else torch.tensor(valid)[:, None, :, None]
    return Targets(centres, torch.full((*centres.shape[:3], 2), 4.0), known, 3.0, SIZE)


def shapes(cameras: int = 1, objects: int = 2) -> Shapes:
    return Shapes(cameras, objects, 6, SIZE)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cameras", [1, 2])
def test_every_method_s_network_keeps_its_output_contract(method, cameras):
    config = load_config("demo", [f"method={method}"])
    network = build_network(config, shapes(cameras))
    actions, log_attention = network(torch.rand(3, cameras, 3, *SIZE), torch.randn(3, 6))
    assert actions.shape == (3, config.horizon, 6)
    assert log_attention.shape == (3, cameras * 2 if method == "gated" else cameras, 9, 12)
    torch.testing.assert_close(log_attention.exp().sum((-2, -1)), torch.ones(log_attention.shape[:2]))


def test_batched_and_single_answers_are_the_same():
    network = build_network(load_config("demo"), shapes()).eval()
    images, state = torch.rand(4, 1, 3, *SIZE), torch.randn(4, 6)
    together = network(images, state)[0]
    alone = torch.cat([network(images[i : i + 1], state[i : i + 1])[0] for i in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_keypoints_lie_where_the_mass_is():
    logits = torch.full((1, 2, 9, 12), -50.0)
    logits[0, 0, 0, 11] = logits[0, 1, 8, 0] = 0.0
    points = expected_position(spatial_softmax(logits))[0]
    torch.testing.assert_close(points, torch.tensor([11 / 12, -11 / 12, -8 / 9, 8 / 9]), atol=1e-4, rtol=0)


def test_the_gate_keeps_keypoints_at_their_object():
    """Features shouting from one corner do not pull a keypoint away from where P_k is, in the other corner."""
    network = build_network(load_config("demo"), shapes()).policy.eval()
    assert isinstance(network, GatedPolicy)
    z = torch.zeros(1, 64, 9, 12)
    z[:, :, 0, 0] = 8.0  # a confounder, far above any background
    heads = torch.full((1, 2, 9, 12), -20.0)
    heads[:, :, 8, 11] = 20.0
    seen: list[torch.Tensor] = []
    network.encoder = torch.nn.Identity()
    network.encoder.forward = lambda images: z
    network.locate = torch.nn.Identity()
    network.locate.forward = lambda features: heads
    network.head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(torch.zeros(1, 1, 3, *SIZE), torch.zeros(1, 6))
    gated = seen[0][0, :128].view(2, 64)
    # Far from (-1, -1): the corner (11/12, 8/9) up to the little that the clamp of -12 lets through.
    assert (gated[0] > 0.8).all() and (gated[1] > 0.8).all()
    ungated = expected_position(spatial_softmax(z))[0].view(2, 64)
    assert (ungated[0] < -0.8).all(), "without the gate the confounder would have had them"


@pytest.mark.parametrize("method", sorted(LOSSES))
def test_a_sample_without_valid_objects_adds_nothing_and_takes_nothing(method):
    """In the reference one sample without a map switched the loss off for its whole batch."""
    config = load_config("demo", [f"method={method}"])
    network = build_network(config, shapes())
    images, state = torch.rand(3, 1, 3, *SIZE), torch.zeros(3, 6)
    centres = [[[20.0, 20], [60, 30]], [[30.0, 40], [70, 50]], [[float("nan")] * 2] * 2]
    _, z, log_attention = network.policy.look(images, state)
    mixed = LOSSES[method](z, log_attention, targets(centres, [[True] * 2, [True] * 2, [False] * 2]), 10.0)
    clean = LOSSES[method](z[:2], log_attention[:2], targets(centres[:2]), 10.0)
    torch.testing.assert_close(mixed, clean)
    grad = torch.autograd.grad(mixed, z if method.startswith("reg") and method != "reg-share" else log_attention)[0]
    assert grad[2].abs().sum() == 0 and grad[:2].abs().sum() > 0 and grad.isfinite().all()


@pytest.mark.parametrize("method", sorted(LOSSES))
def test_a_batch_without_any_map_gives_zero_not_nan(method):
    config = load_config("demo", [f"method={method}"])
    policy = build_network(config, shapes(objects=1)).policy
    _, z, log_attention = policy.look(torch.rand(2, 1, 3, *SIZE), torch.zeros(2, 6))
    loss = LOSSES[method](z, log_attention, targets([[[float("nan")] * 2]] * 2, [[False]] * 2), 10.0)
    assert loss.item() == 0.0


def test_one_invalid_object_leaves_the_other_one_s_loss_alone():
    log_p = torch.log_softmax(torch.randn(1, 2, 108), -1).view(1, 2, 9, 12)
    z = torch.zeros(1, 1, 64, 9, 12)
    both = [[[20.0, 20.0], [60.0, 30.0]]]
    first = LOSSES["gated"](z, log_p, targets(both, [[True, False]]), 1.0)
    alone = LOSSES["gated"](z, log_p[:, :1], targets([[both[0][0]]]), 1.0)
    torch.testing.assert_close(first, alone)


def test_maps_are_core_s_maps():
    """Training makes Gaussians from box centres on the fly; they are those that the annotation shows."""
    boxes = np.array([[10.0, 12.0, 20.0, 24.0], [50.0, 40.0, 58.0, 48.0]])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    ours = targets([centres.tolist()])
    maps = saliency.gaussian_maps(boxes, (18, 24), SIZE, 3.0)
    np.testing.assert_allclose(ours.log_maps(18, 24)[0, 0].exp().numpy(), maps, atol=1e-5)
    np.testing.assert_allclose(ours.union_map(18, 24)[0, 0].numpy(), saliency.union_map(maps), atol=1e-5)


@pytest.mark.parametrize("method", sorted(LOSSES))
def test_attention_on_the_objects_costs_less_than_attention_elsewhere(method):
    def loss(row: int, column: int) -> float:
        z = torch.full((1, 1, 64, 9, 12), 1e-3)
        z[..., row, column] = 5.0
        a = z.sum(2)
        return LOSSES[method](z, torch.log(a / a.sum()), targets([[[44.0, 36.0]]]), 10.0).item()

    assert loss(4, 5) < loss(0, 0)
