"""Loads a policy file and runs it on observations. The only module that knows torch.jit.

TorchScript is what can be loaded without the model's code and without unpickling. torch marks it deprecated: when
another format replaces it, it is replaced here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from autofocus_core.errors import AutofocusError
from autofocus_core.manifest import Manifest, check_fits, read_manifest
from autofocus_core.resample import Observation
from autofocus_core.schema import Robot

# The profiling executor compiles a specialised graph during the first calls: these must not happen at control time.
WARM_UP_CALLS = 4


class AnswerError(AutofocusError):
    """A policy gave no answer that could be used: it raised, or its output is not what the manifest promises."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What the policy wants from `stamp_ns` on: row k of `positions` holds at stamp_ns + (k + 1) * dt_s.

    stamp_ns: header stamp of the observation. positions: (H, A) float64, absolute, rad or m, finite.
    attention: (K, h, w) float32, each map summing to 1, or one map of zeros where the method has none.
    """

    stamp_ns: int
    dt_s: float
    positions: np.ndarray
    attention: np.ndarray


class PolicyRunner:
    """A policy file, checked against a robot, loaded and warmed up; `act` turns observations into chunks.

    manifest: the file's. load_s: how long loading and warming up took. Raises AutofocusError where the file is not
    a policy file, does not fit the robot, or its output has a wrong shape, dtype or value.
    `threads` sets torch's intra-op threads for the whole process. `device`: cpu, cuda or cuda:N.
    """

    def __init__(self, path: str | Path, robot: Robot, threads: int = 1, device: str = "cpu") -> None:
        started_s = time.perf_counter()
        self._where = f"policy file {path}"
        self.manifest: Manifest = read_manifest(path)
        check_fits(self.manifest, robot, self._where)
        sizes = {(c.height_px, c.width_px) for c in self.manifest.cameras}
        if len(sizes) != 1:
            raise AutofocusError(self._where, f"camera sizes (height, width) {sorted(sizes)}",
                                 "one size for all cameras of a policy, which sees them as one array",
                                 "set the cameras' drivers to one size, record and train again")
        self._frame = sizes.pop()
        self._cameras = tuple(c.name for c in self.manifest.cameras)
        past, joints = self.manifest.state_history, len(self.manifest.joints)
        self._states_shape = (past, joints) if past > 1 else (joints,)
        if threads < 1:
            raise AutofocusError("threads", str(threads), "at least 1", "leave it at 1 on a small computer")
        torch.set_num_threads(threads)
        self.device = _device(device)
        try:
            self._module = torch.jit.load(str(path), map_location=self.device).eval()
        except (RuntimeError, ValueError, torch.jit.Error) as e:
            raise AutofocusError(self._where, f"torch.jit refuses it: {str(e).splitlines()[0]}",
                                 f"TorchScript that torch {torch.__version__} can load",
                                 "export the policy again with `autofocus export` and this torch") from e
        self._allocate()
        self._warm_up(robot)
        self.load_s = time.perf_counter() - started_s

    def act(self, observation: Observation) -> Chunk:
        """One forward pass. Raises AnswerError where the output is not what the manifest promises."""
        frames = [observation.images[name] for name in self._cameras]
        for frame in frames:
            if frame.dtype != np.uint8 or frame.shape != (*self._frame, 3):
                raise AutofocusError(f"{self._where}: images", f"{frame.dtype} {frame.shape}",
                                     f"uint8 {(*self._frame, 3)}", "give frames of the robot YAML's size")
        np.copyto(self._state.numpy()[0], self._states(observation), casting="same_kind")
        actions, attention = self._forward(self._to_device(frames), self._state.to(self.device, non_blocking=True))
        return Chunk(stamp_ns=observation.stamp_ns, dt_s=self.manifest.dt_s,
                     positions=actions[0].numpy().astype(np.float64), attention=attention[0].numpy())

    def _allocate(self) -> None:
        """Memory for the inputs, once: pinned for a GPU, so that the copy to it need not be staged."""
        pinned = self.device.type == "cuda"
        shape = (1, len(self._cameras), *self._frame, 3)
        self._images = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
        self._state = torch.empty((1, *self._states_shape), dtype=torch.float32, pin_memory=pinned)
        self._images_there = self._images.to(self.device) if pinned else self._images

    def _to_device(self, frames: list[np.ndarray]) -> torch.Tensor:
        """The frames as one tensor (1, N, H, W, 3) where the network is. One frame for the CPU is not copied at all."""
        if self.device.type == "cpu" and len(frames) == 1 and frames[0].flags.writeable:  # torch shares no other
            return torch.from_numpy(frames[0])[None, None]
        for there, frame in zip(self._images.numpy()[0], frames, strict=True):
            np.copyto(there, frame)
        if self._images_there is not self._images:
            self._images_there.copy_(self._images, non_blocking=True)
        return self._images_there

    def _forward(self, images: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        try:
            with torch.inference_mode():
                output = self._module(images, state)
        except (RuntimeError, torch.jit.Error) as e:
            raise AnswerError(f"{self._where}: forward", str(e).strip().splitlines()[-1],
                              "a forward pass on one observation",
                              "export the policy again with `autofocus export`") from e
        expected = (1, self.manifest.horizon, len(self.manifest.joints))
        if not (isinstance(output, tuple) and len(output) == 2 and all(isinstance(o, torch.Tensor) for o in output)):
            raise self._bad_output(f"{type(output).__name__}", "a tuple of two tensors: actions, attention")
        actions, attention = output
        if tuple(actions.shape) != expected or actions.dtype != torch.float32:
            raise self._bad_output(f"actions {actions.dtype} {tuple(actions.shape)}", f"torch.float32 {expected}")
        if attention.ndim != 4 or attention.shape[0] != 1 or attention.dtype != torch.float32:
            raise self._bad_output(f"attention {attention.dtype} {tuple(attention.shape)}",
                                   "torch.float32 (1, K, h, w)")
        actions, attention = actions.cpu(), attention.cpu()  # waits for a GPU, once
        for name, tensor in (("actions", actions), ("attention", attention)):
            finite = np.isfinite(tensor.numpy())
            if not finite.all():
                raise self._bad_output(f"{name} with {np.count_nonzero(~finite)} values not finite", "finite values")
        return actions, attention

    def _states(self, observation: Observation) -> np.ndarray:
        """The joint states as the network takes them: (A,), or (P, A) where it sees earlier ones."""
        states = observation.state if len(self._states_shape) == 1 else observation.states
        if states.shape != self._states_shape:
            raise AutofocusError(f"{self._where}: joint states", f"shape {states.shape}", f"{self._states_shape}",
                                 "observe with StateHistory(manifest.state_history, manifest.dt_s)")
        return states

    def _bad_output(self, got: str, allowed: str) -> AnswerError:
        return AnswerError(f"{self._where}: output", got, allowed,
                           "do not run this policy; look at its training log, train and export again")

    def _warm_up(self, robot: Robot) -> None:
        """Run on noise at the start pose, until torch has compiled what it compiles and the output is known good."""
        noise = np.random.default_rng(0)
        for _ in range(WARM_UP_CALLS):
            image = noise.integers(0, 256, (*self._frame, 3), dtype=np.uint8)
            self.act(Observation(stamp_ns=0, images=dict.fromkeys(self._cameras, image),
                                 image_stamps_ns=dict.fromkeys(self._cameras, 0),
                                 state=np.array(robot.start.pose), state_stamp_ns=0,
                                 earlier=(np.array(robot.start.pose),) * (self.manifest.state_history - 1)))


def _device(name: str) -> torch.device:
    """cpu, cuda or cuda:N as torch knows it; raises AutofocusError where this machine has no such device."""
    if name == "cpu":
        return torch.device(name)
    allowed = "cpu | cuda | cuda:N"
    kind, _, number = name.partition(":")
    if kind != "cuda" or not (number.isdecimal() or name == "cuda"):
        raise AutofocusError("device", repr(name), allowed, "correct the parameter `device`")
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise AutofocusError("device", f"{name!r}, but torch {torch.__version__} ({built}) sees no GPU", allowed,
                             "set device:=cpu, or install NVIDIA's driver and a CUDA build of torch")
    if number and int(number) >= torch.cuda.device_count():
        there = ", ".join(f"cuda:{i}" for i in range(torch.cuda.device_count()))
        raise AutofocusError("device", repr(name), f"cpu | {there}", "choose one of these")
    return torch.device(name)
