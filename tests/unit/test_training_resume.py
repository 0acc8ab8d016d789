"""A run that was stopped goes on exactly; two processes give the weights of one; averages, bfloat16, curves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_samples
import torch
import training_bags as bags
from autofocus_core.errors import AutofocusError
from autofocus_training import train
from autofocus_training.checkpoint import load_checkpoint, load_state, save_state
from autofocus_training.distributed import check_share, pick_device
from autofocus_training.fit import advance, begin, fit
from autofocus_training.journal import Journal
from autofocus_training.loader import Share
from tiny_samples import RELATIVE, config, samples

ROOT = Path(__file__).parents[2]
#: Everything random at once: augmentation, gripper noise, batches, an average of the weights.
LIVELY = ("steps=4", "shift_px=3", "paste_shapes=2", "gripper_noise=0.3", "ema_decay=0.9")


def weights(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in network.state_dict().values() if value.is_floating_point()])


@pytest.mark.parametrize("method", ["none", "gated"])
def test_two_steps_and_two_more_are_four(tmp_path, method):
    """Through the file, into a run that was begun with other weights: nothing is left of those."""
    setting = config(f"method={method}", *LIVELY)
    whole, _ = fit(samples(), RELATIVE, setting)
    first = begin(samples(), RELATIVE, setting)
    advance(first, samples(), setting, until=2)
    save_state(tmp_path / "run.pt", first, setting, "data", [{"step": 0, "total": 1.0}])
    second = begin(samples(), RELATIVE, setting)
    with torch.no_grad():
        for parameter in second.network.parameters():
            parameter.add_(1.0)
    assert load_state(tmp_path / "run.pt", second, setting, "data") == [{"step": 0, "total": 1.0}]
    assert second.step == 2
    advance(second, samples(), setting)
    assert torch.equal(weights(whole), weights(second.result()))


def test_a_run_of_another_config_or_other_data_is_not_resumed(tmp_path):
    setting = config(*LIVELY)
    run = begin(samples(), RELATIVE, setting)
    save_state(tmp_path / "run.pt", run, setting, "data", [])
    with pytest.raises(AutofocusError, match=r"(?s)jitter 0\.2.*jitter 0\.5.*--restart"):
        load_state(tmp_path / "run.pt", run, config(*LIVELY, "jitter=0.5"), "data")
    with pytest.raises(AutofocusError, match="other episodes, annotations or review decisions"):
        load_state(tmp_path / "run.pt", run, setting, "other data")
    (tmp_path / "run.pt").write_bytes(b"cut")
    with pytest.raises(AutofocusError, match="not readable"):
        load_state(tmp_path / "run.pt", run, setting, "data")


def test_two_processes_give_the_weights_of_one(tmp_path):
    """In the reference the wrapped module was called past its wrapper, so gradients never met and each process trained
    its own policy. Half of the samples have no map: the count that the saliency loss is divided by is shared, too."""
    script = ROOT / "tests" / "fixtures" / "train_two_processes.py"
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script),
         str(tmp_path)],
        check=True, timeout=240, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True,
    )  # fmt: skip
    setting, data = tiny_samples.config(*LIVELY), half_annotated()
    alone, _ = fit(data, RELATIVE, setting)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    assert torch.equal(found[0], found[1]), "the two processes trained two policies"
    off = (found[0] - weights(alone)).abs()
    # AdamW divides by the gradient's size: where that is next to nothing, rounding decides (once in a million weights).
    assert (off > 2e-5).float().mean() < 1e-5 and off.max() < 5e-3
    begun = weights(begin(data, RELATIVE, setting).network)
    assert (weights(alone) - begun).abs().median() > 2e-4, "training moves the weights by far more than that"


def half_annotated():
    """Samples of which the first half has no map: the two processes have different numbers of valid objects."""
    data = samples()
    data.valid[:5] = False
    return data


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(AutofocusError, match="batch_size=6"):
        check_share(config("batch_size=8"), Share(0, 3), 100)
    check_share(config("batch_size=8"), Share(0, 2), 100)


def test_the_average_trails_the_weights_and_is_what_is_exported():
    setting = config("steps=30", "ema_decay=0.9", "learning_rate=0.01")
    run = begin(samples(), RELATIVE, setting)
    advance(run, samples(), setting)
    last = weights(run.network).clone()
    mean = weights(run.result())
    assert not torch.allclose(last, mean)
    plain, _ = fit(samples(), RELATIVE, config("steps=30", "learning_rate=0.01"))
    assert torch.equal(weights(plain), last), "averaging changes nothing else"


def test_bfloat16_trains_with_float32_weights():
    found: list[float] = []
    setting = config("precision=bfloat16", "steps=40", "jitter=0")
    network, _ = fit(samples(), RELATIVE, setting, lambda step, parts: found.append(parts["imitation"]))
    assert sum(found[-4:]) < 0.5 * sum(found[:4])
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


def test_devices_that_are_not_there_are_refused():
    with pytest.raises(AutofocusError, match="auto, cpu"):
        pick_device("gpu")
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(AutofocusError, match="choose another one"):
        pick_device(missing)
    assert pick_device("cpu") == torch.device("cpu")


def command(folder: Path, out: str, *more: str) -> list[str]:
    return bags.train_arguments(folder, out, *more, "--set", "steps=200")


def test_ctrl_c_saves_the_run_and_resume_ends_where_an_undisturbed_one_does(recorded, monkeypatch):
    assert train.main(command(recorded, "whole")) == 0
    out = recorded / "out"
    heard = Journal.step

    def interrupted(journal: Journal, step: int, *more) -> None:
        heard(journal, step, *more)
        if step == 77:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Journal, "step", interrupted)
    before = signal.getsignal(signal.SIGINT)
    status = train.main(command(recorded, "out"))
    monkeypatch.undo()
    assert status == 130 and signal.getsignal(signal.SIGINT) == before
    assert (out / "run.pt").is_file() and not (out / "policy.pt").exists()
    with pytest.raises(AutofocusError, match="--resume"):
        train.main(command(recorded, "out"))
    assert train.main(command(recorded, "out", "--resume")) == 0
    assert not (out / "run.pt").exists()
    one, other = (load_checkpoint(recorded / name / "checkpoint.pt").network for name in ("whole", "out"))
    assert torch.equal(weights(one), weights(other))
    histories = [json.loads((recorded / name / "history.json").read_text()) for name in ("whole", "out")]
    assert histories[0]["curve"] == histories[1]["curve"]
    assert histories[0]["held_out"] == histories[1]["held_out"] is not None
    points = [point["step"] for point in histories[0]["curve"] if "held_out" in point]
    assert points[0] == 0 and points[-1] == 199 and len(points) > 5


def test_restart_throws_an_interrupted_run_away(recorded):
    (recorded / "out").mkdir()
    (recorded / "out" / "run.pt").write_bytes(b"of another time")
    assert train.main(command(recorded, "out", "--restart")) == 0


def test_tensorboard_curves_or_an_error_that_names_the_package(recorded):
    arguments = command(recorded, "out", "--tensorboard")
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(AutofocusError, match=r"autofocus-il\[tensorboard\]"):
            train.main(arguments)
        return
    assert train.main(arguments) == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(recorded / "out" / "tensorboard"))
    events.Reload()
    losses = {"loss/imitation", "loss/saliency", "loss/total", "loss/held_out"}
    assert losses | {"learning_rate", "gradient_norm"} == set(events.Tags()["scalars"])
    assert events.Scalars("loss/total")[-1].step == 199
