"""Nothing of a training step stays behind on the CPU when the network is on another device.

Without a GPU, torch's `meta` device stands for one: it has shapes and no values, and an operation that is given a
tensor of the CPU as well raises, as it would on a GPU. The last test is the whole loop, where there is a GPU.
"""

from __future__ import annotations

import pytest
import torch
from autofocus_training.batch import Batch
from autofocus_training.checkpoint import load_state, save_state
from autofocus_training.config import METHODS, Config
from autofocus_training.fit import Run, Step, advance, begin, held_out_loss, update_average
from autofocus_training.loader import Share, batches
from tiny_samples import RELATIVE, config, samples
from torch import nn


def begun(setting: Config) -> tuple[Run, Batch]:
    """A run on the other device and a batch that still is where it was made."""
    run = begin(samples(), RELATIVE, setting, "meta")
    with batches(samples(), run.normaliser, setting, 0, 1, Share(), 0) as stream:
        return run, next(iter(stream))


@pytest.mark.parametrize("chosen", [*(f"method={name}" for name in METHODS), "policy=act", "policy=diffusion"])
def test_a_step_and_an_answer_are_where_the_network_is(chosen):
    run, batch = begun(config(chosen, "shift_px=2", "paste_shapes=1"))
    losses = Step(run.network)(batch.to("meta"))
    losses["total"].backward()
    assert {loss.device.type for loss in losses.values()} == {"meta"}
    assert nn.utils.clip_grad_norm_(run.network.parameters(), 1.0).device.type == "meta"
    actions, _ = run.network.eval()(batch.images.to("meta"), batch.state.to("meta"))
    assert actions.device.type == "meta"


def test_what_stays_behind_would_be_noticed():
    run, batch = begun(config("method=gated"))
    with pytest.raises(RuntimeError, match="device"):
        Step(run.network)(batch)


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
def test_a_resumed_average_goes_to_the_network(tmp_path):
    """A run's file is read to the CPU; its averaged weights stayed there, and the first step after --resume failed on a
    GPU."""
    setting = config("ema_decay=0.9")
    run = begin(samples(), RELATIVE, setting)
    update_average(run.average, run.network, 0.9, 0)
    save_state(tmp_path / "run.pt", run, setting, "data", [])
    resumed = begin(samples(), RELATIVE, setting, "meta")
    load_state(tmp_path / "run.pt", resumed, setting, "data")
    assert {value.device.type for value in resumed.average.values()} == {"meta"}
    update_average(resumed.average, resumed.network, 0.9, 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("method", METHODS)
def test_a_run_on_a_gpu_is_stopped_resumed_and_measured(tmp_path, method):
    setting = config(f"method={method}", "steps=4", "ema_decay=0.9", "shift_px=2", "paste_shapes=1")
    run = begin(samples(), RELATIVE, setting, "cuda")
    advance(run, samples(), setting, until=2)
    save_state(tmp_path / "run.pt", run, setting, "data", [])
    resumed = begin(samples(), RELATIVE, setting, "cuda")
    load_state(tmp_path / "run.pt", resumed, setting, "data")
    advance(resumed, samples(), setting, workers=1)
    assert held_out_loss(resumed.result(), resumed.normaliser, samples(), setting) < 10.0
