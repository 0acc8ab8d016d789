"""Methods, policies and encoders: shapes, what the gate lets through, METHOD's formulas, which samples count."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from autofocus_core import saliency
from autofocus_core.errors import AutofocusError
from autofocus_training import names, policies
from autofocus_training.batch import Batch, Shapes, Targets
from autofocus_training.config import load_config
from autofocus_training.encoders import FROM_SCRATCH, build_encoder
from autofocus_training.losses import MAP_DISTANCES, predicted_map, sum_normalised
from autofocus_training.methods import METHODS, build_network
from autofocus_training.methods.objectives import Look
from autofocus_training.pooling import GatedKeypoints, expected_position, spatial_softmax

SIZE = (24, 32)
WITH_MAPS = sorted(names.NEEDS_MAPS)
PER_OBJECT = ("gated", "gated-tight")  # a map for each object
OBJECTIVES = sorted(name for name, method in METHODS.items() if method.objective is not None)


def targets(centres, valid=None, size=SIZE) -> Targets:
    """B samples, one camera, K objects."""
    centres = torch.tensor(centres, dtype=torch.float32)[:, None, :, None]
    known = torch.ones(centres.shape[:4], dtype=torch.bool) if valid is None else torch.tensor(valid)[:, None, :, None]
    return Targets(centres, torch.full((*centres.shape[:3], 2), 4.0), known, 3.0, size)


def network(method: str, cameras: int = 1, objects: int = 2, *more: str):
    torch.manual_seed(0)
    config = load_config("tiny", [f"method={method}", *more])
    return build_network(config, Shapes(cameras, objects, 6, config.image_size))


def batch(maps: Targets, seed: int = 0) -> Batch:
    """One camera, 6 joints, horizon 3, images of `maps`' size."""
    rng = torch.Generator().manual_seed(seed)
    count = len(maps.valid)
    return Batch(
        torch.rand(count, 1, 3, *maps.image_size, generator=rng), torch.randn(count, 6, generator=rng),
        torch.randn(count, 3, 6, generator=rng), maps,
    )  # fmt: skip


def rows(whole: Batch, index: slice) -> Batch:
    """Some samples of a batch."""
    maps = dataclasses.replace(
        whole.targets, centres_px=whole.targets.centres_px[index], half_px=whole.targets.half_px[index],
        valid=whole.targets.valid[index],
    )  # fmt: skip
    return Batch(whole.images[index], whole.state[index], whole.actions[index], maps)


def test_the_names_of_configs_are_those_of_the_tables():
    assert tuple(METHODS) == names.METHODS
    assert tuple(policies.POLICIES) == names.POLICIES
    assert (*FROM_SCRATCH, "pretrained") == names.ENCODERS
    assert set(MAP_DISTANCES) < set(names.METHODS)


@pytest.mark.parametrize("method", names.METHODS)
@pytest.mark.parametrize("cameras", [1, 2])
def test_every_method_s_network_keeps_its_output_contract(method, cameras):
    images, state = torch.rand(3, cameras, 3, *SIZE), torch.randn(3, 6)
    net = network(method, cameras).eval()
    actions, log_attention = net(images, state)
    assert actions.shape == (3, 3, 6)
    assert log_attention.shape == (3, cameras * (2 if method in PER_OBJECT else 1), 3, 4)
    torch.testing.assert_close(log_attention.exp().sum((-2, -1)), torch.ones(log_attention.shape[:2]))
    assert torch.equal(net(images, state)[0], actions), "the same input, the same output"


@pytest.mark.parametrize("policy", names.POLICIES)
@pytest.mark.parametrize("method", ["gated", "gmd", "visarl"])
def test_batched_and_single_answers_are_the_same(method, policy):
    net = network(method, 1, 2, f"policy={policy}").eval()
    images, state = torch.rand(4, 1, 3, *SIZE), torch.randn(4, 6)
    together = net(images, state)[0]
    alone = torch.cat([net(images[i : i + 1], state[i : i + 1])[0] for i in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("policy", names.POLICIES)
@pytest.mark.parametrize("method", names.METHODS)
def test_every_weight_is_trained_even_by_a_batch_without_maps(method, policy):
    """A weight without a gradient is one that several processes cannot agree on, or a part that is not used."""
    net = network(method, 1, 2, f"policy={policy}")
    net.losses(batch(targets([[[float("nan")] * 2] * 2] * 2, [[False] * 2] * 2)))["total"].backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("method", names.METHODS)
def test_every_method_trains_in_bfloat16(method):
    net = network(method)
    with torch.autocast("cpu", torch.bfloat16):
        parts = net.losses(batch(targets([[[8.0, 8], [24, 12]]] * 2)))
    parts["total"].backward()
    assert all(value.isfinite() for value in parts.values())
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("encoder", sorted(FROM_SCRATCH))
def test_encoders_give_small_maps_of_features_that_are_not_negative(encoder):
    net = build_encoder(load_config("tiny", [f"encoder={encoder}"]))
    z = net(torch.randn(2, 3, 96, 128))
    stride = 16 if encoder == "resnet18" else 8
    assert z.shape == (2, net.channels, 96 // stride, 128 // stride) and z.min() >= 0
    assert torch.equal(net.late(net.early(torch.ones(1, 3, 96, 128))), net(torch.ones(1, 3, 96, 128)))


def test_keypoints_lie_where_the_mass_is():
    logits = torch.full((1, 2, 9, 12), -50.0)
    logits[0, 0, 0, 11] = logits[0, 1, 8, 0] = 0.0
    points = expected_position(spatial_softmax(logits))[0]
    torch.testing.assert_close(points, torch.tensor([[11 / 12, -8 / 9], [-11 / 12, 8 / 9]]), atol=1e-4, rtol=0)


def test_the_gate_keeps_keypoints_at_their_object():
    """Features shouting from one corner do not pull a keypoint away from where P_k is, in the other corner."""
    pooling = GatedKeypoints(64, 2)
    z = torch.zeros(1, 64, 9, 12)
    z[:, :, 0, 0] = 8.0  # a confounder, far above any background
    heads = torch.full((1, 2, 9, 12), -20.0)
    heads[:, :, 8, 11] = 20.0
    pooling.locate = torch.nn.Identity()
    pooling.locate.forward = lambda features: heads
    points = pooling(z)[0].view(2, 33, 2)
    # Far from (-1, -1): the corner (11/12, 8/9) up to the little that the clamp of -12 lets through.
    assert (points > 0.8).all()
    assert (expected_position(spatial_softmax(z)) < -0.8).all(), "without the gate the confounder would have had them"


def test_the_tight_gate_holds_against_any_features_and_the_other_does_not():
    heads = torch.full((1, 2, 9, 12), -20.0)
    heads[:, :, 8, 11] = 20.0
    z = torch.zeros(1, 64, 9, 12)
    z[:, :, 0, 0] = 1000.0
    for tight in (False, True):
        pooling = GatedKeypoints(64, 2, tight)
        pooling.locate = torch.nn.Identity()
        pooling.locate.forward = lambda features: heads
        points = pooling(z)[0].view(2, 33, 2)[:, :-1]
        assert (points > 0.8).all() if tight else (points < -0.8).all()


@pytest.mark.parametrize(("method", "trained"), [("gated", True), ("gated-tight", False)])
def test_imitation_does_not_train_where_the_tight_gate_looks(method, trained):
    net = network(method)
    parts = net.losses(batch(targets([[[8.0, 8], [24, 12]]] * 2)))
    locate = list(net.actor.pooling.locate.parameters())
    found = torch.autograd.grad(parts["imitation"], locate, allow_unused=True, retain_graph=True)
    assert any(g is not None and g.abs().sum() > 0 for g in found) is trained
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(parts["saliency"], locate))


@pytest.mark.parametrize("encoder", sorted(FROM_SCRATCH))
def test_features_of_a_local_encoder_do_not_know_what_is_far_away(encoder):
    """The statistics of GroupNorm are of the whole image: through them a lamp in a corner is known everywhere."""
    image = torch.randn(1, 3, 256, 256)
    other = image.clone()
    other[..., :16, :16] += 10.0
    for local in (False, True):
        net = build_encoder(load_config("tiny", [f"encoder={encoder}"]), local=local)
        far = (net(image) - net(other))[..., -1, -1].abs().max()
        assert bool(far == 0.0) is local


@pytest.mark.parametrize("method", WITH_MAPS)
def test_a_sample_without_valid_objects_adds_nothing_and_takes_nothing(method):
    """In the reference one sample without a map switched the loss off for its whole batch."""
    net = network(method)
    net.eval()  # GMD's draws would differ between the two batches
    centres = [[[8.0, 8], [24, 12]], [[12.0, 16], [28, 20]], [[float("nan")] * 2] * 2]
    mixed = batch(targets(centres, [[True] * 2, [True] * 2, [False] * 2]))
    term = "saliency" if method in OBJECTIVES else "predictor"
    found, alone = net.losses(mixed), net.losses(rows(mixed, slice(0, 2)))
    torch.testing.assert_close(found[term], alone[term])
    assert found[term] > 0
    only = net.losses(rows(mixed, slice(2, 3)))
    assert only[term] == 0.0 and only["imitation"] > 0
    total = 2 * alone["imitation"] + only["imitation"]
    torch.testing.assert_close(found["imitation"], total / 3, msg="it still counts for cloning, as much as the others")


@pytest.mark.parametrize("method", sorted({*MAP_DISTANCES, "reg-share"}))
def test_no_gradient_comes_from_a_sample_without_a_map(method):
    objective = network(method).objective
    z = torch.rand(3, 8, 3, 4, requires_grad=True)
    shares = (z.sum(1) / z.sum((1, 2, 3))[:, None, None]).log()[:, None]
    centres = [[[8.0, 8], [24, 12]], [[12.0, 16], [28, 20]], [[float("nan")] * 2] * 2]
    data = batch(targets(centres, [[True] * 2, [True] * 2, [False] * 2]))
    objective.loss(Look(z, torch.zeros(3, 1, 1), shares), data, None).backward()
    assert z.grad[2].abs().sum() == 0 and z.grad[:2].abs().sum() > 0 and z.grad.isfinite().all()


@pytest.mark.parametrize("method", ["gated", "gril"])
def test_one_invalid_object_leaves_the_other_one_s_loss_alone(method):
    objective = network(method).objective
    log_p = torch.log_softmax(torch.randn(1, 2, 12), -1).view(1, 2, 3, 4)
    tokens = torch.randn(1, 2, 66 if method == "gated" else 64)
    look = Look(torch.rand(1, 64, 3, 4), tokens, log_p)
    right, wrong = [8.0, 8.0], [float("nan")] * 2
    first = objective.loss(look, batch(targets([[right, wrong]], [[True, False]])), None)
    both = objective.loss(look, batch(targets([[right, [24.0, 12.0]]])), None)
    second = objective.loss(look, batch(targets([[wrong, [24.0, 12.0]]], [[False, True]])), None)
    torch.testing.assert_close(first + second, 2 * both)


def test_maps_are_core_s_maps():
    """Training makes Gaussians from box centres on the fly; they are those that the annotation shows."""
    boxes = np.array([[10.0, 12.0, 20.0, 24.0], [50.0, 40.0, 58.0, 48.0]])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    ours = targets([centres.tolist()], size=(72, 96))
    maps = saliency.gaussian_maps(boxes, (18, 24), (72, 96), 3.0)
    np.testing.assert_allclose(ours.log_maps(18, 24)[0, 0].exp().numpy(), maps, atol=1e-5)
    np.testing.assert_allclose(ours.union_map(18, 24)[0, 0].numpy(), saliency.union_map(maps), atol=1e-5)


def test_the_regulariser_s_formulas_by_hand():
    """METHOD's D, on 1x2 maps G = [1, 0] and G_hat = [1, 1], worked out on paper; the predicted map likewise."""
    g, guess = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[1.0, 1.0]]])
    log2 = float(np.log(2.0))
    mean = [0.75, 0.25]
    js = 0.5 * np.log(1 / mean[0]) + 0.5 * (0.5 * np.log(0.5 / mean[0]) + 0.5 * np.log(0.5 / mean[1]))
    wanted = {"reg-mse": 0.5, "reg-l1": 0.5, "reg-kl": log2, "reg-tv": 1.0, "reg-js": float(js)}
    for name, distance in MAP_DISTANCES.items():
        assert distance(g, guess).item() == pytest.approx(wanted[name], abs=1e-4), name
        assert distance(g, g).item() == pytest.approx(0.0, abs=1e-6), name
    z = torch.zeros(1, 2, 1, 3)
    z[0, :, 0] = torch.tensor([[2.0, 0.0, -1.0], [-2.0, 0.0, 1.0]])  # A = [4, 0, 2]
    p = np.exp([2.0, 0.0, 1.0]) / np.exp([2.0, 0.0, 1.0]).sum()  # softmax(A / 2)
    expected = (p - p.min()) / (p.max() - p.min())
    np.testing.assert_allclose(predicted_map(z, 2.0, (1, 3))[0, 0].numpy(), expected, atol=1e-5)
    assert sum_normalised(torch.zeros(1, 2, 2)).sum() == 0, "a map of zeros stays one"


@pytest.mark.parametrize("method", sorted({*MAP_DISTANCES, "reg-share", "gated", "gated-union"}))
def test_attention_on_the_objects_costs_less_than_attention_elsewhere(method):
    def loss(row: int, column: int) -> float:
        z = torch.full((1, 8, 9, 12), 1e-3)
        z[..., row, column] = 5.0
        a = z.sum(1, keepdim=True)
        data = batch(targets([[[44.0, 36.0]]], size=(72, 96)))
        return network(method, 1, 1).objective.loss(Look(z, torch.zeros(1, 1, 1), torch.log(a / a.sum())), data, None)

    assert loss(4, 5) < loss(0, 0)


@pytest.mark.parametrize(
    ("schedule", "factors"), [("constant", (1, 1, 1)), ("decay", (1, 0.5, 0)), ("warmup", (0, 1, 1))]
)
def test_weight_and_schedule_of_the_saliency_term_are_live(schedule, factors):
    data = batch(targets([[[8.0, 8], [24, 12]]]))
    for weight in (0.5, 2.0):
        net = network("gated", 1, 2, f"saliency_schedule={schedule}", f"saliency_weight={weight}")
        for progress, factor in zip((0.0, 0.5, 1.0), factors):
            parts = net.losses(dataclasses.replace(data, progress=progress))
            torch.testing.assert_close(parts["total"], parts["imitation"] + weight * factor * parts["saliency"])


@pytest.mark.parametrize(
    ("key", "method", "term"),
    [
        ("saliency_beta", "reg-mse", "saliency"), ("saliency_beta", "reg-l1", "saliency"),
        ("saliency_beta", "reg-kl", "saliency"), ("saliency_beta", "reg-js", "saliency"),
        ("saliency_beta", "reg-tv", "saliency"), ("action_loss", "gated", "imitation"),
    ],
)  # fmt: skip
def test_knobs_of_losses_are_live(key, method, term):
    values = ("mse", "l1") if key == "action_loss" else (1.0, 50.0)
    data = batch(targets([[[8.0, 8], [24, 12]]]))
    first, second = (network(method, 1, 2, f"{key}={value}").losses(data)[term] for value in values)
    assert abs(first - second) > 1e-4


@pytest.mark.parametrize("policy", ["act", "diffusion"])
def test_width_and_layers_of_a_policy_are_live(policy):
    def size(*more: str) -> int:
        return sum(p.numel() for p in network("none", 1, 2, f"policy={policy}", *more).parameters())

    assert size("model_width=64") > 1.5 * size() and size("model_layers=3") > 1.5 * size()


def test_act_s_latent_is_its_prior_s_mean_when_deployed_and_drawn_in_training():
    head = network("none", 1, 2, "policy=act").actor.head.eval()
    tokens, state, actions = torch.randn(2, 8, 16), torch.randn(2, 6), torch.randn(2, 3, 6)
    assert torch.equal(head(tokens, state), head.decode(tokens, state, torch.zeros(2, 16)))
    torch.manual_seed(0)
    first = head.errors(tokens, state, actions, "l1")
    second = head.errors(tokens, state, actions, "l1")
    assert first["imitation"] != second["imitation"] and first["kl"] == second["kl"] > 0


def test_diffusion_takes_the_noise_out_again():
    """With a denoiser that knows the answer, DDIM from the stored noise ends at it, whatever the noise."""
    head = network("none", 1, 2, "policy=diffusion").actor.head.eval()
    truth = torch.randn(2, 18)
    levels: list[int] = []

    def denoise(noisy, level, condition):
        levels.append(int(level[0]))
        return truth

    head.denoise = denoise
    torch.testing.assert_close(head(torch.randn(2, 8, 16), torch.randn(2, 6)), truth.view(2, 3, 6))
    assert levels == sorted(levels, reverse=True) and (levels[0], levels[-1], len(levels)) == (99, 0, 8)
    assert head.kept[0] > 0.99 and head.kept[99] < 0.01


def test_a_model_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(AutofocusError, match="model_width to 32"):
        network("none", 1, 2, "policy=act", "model_width=34")
