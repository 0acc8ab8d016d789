"""A cell on the wall clock: one thread steps physics at 100 Hz, another makes pictures at 30 Hz. No ROS here."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
from autofocus_core.errors import AutofocusError

from autofocus_sim.cell import COMMAND_PERIOD_S, Cell
from autofocus_sim.truth import Truth
from autofocus_sim.view import Snapshot, View

#: Behind by more than this the loop gives up catching up: simulated time then runs slow, and is counted.
_MOST_BEHIND_S = 0.1
_PICTURE_TIMEOUT_S = 2.0


class RealtimeCell:
    """Runs a :class:`Cell` in real time and calls back with what it measures.

    ``on_joints(stamp_ns, positions (A,), velocities (A,), success)`` comes from the physics thread at 100 Hz,
    ``on_picture(stamp_ns, image uint8 (H, W, 3), truth)`` from the picture thread at ``camera_rate_hz``; both stamps
    are ``clock_ns()`` at the moment the state was sampled. Pictures are made of a copy of the state, so a slow one
    makes the next picture late, never the physics. ``counts`` tells what went wrong: ``late_ticks`` (physics behind the
    clock by more than 0.1 s), ``pictures_skipped`` (the previous one was not done yet).
    """

    def __init__(self, cell: Cell, camera_rate_hz: float, clock_ns: Callable[[], int],
                 on_joints: Callable[[int, np.ndarray, np.ndarray, bool], None],
                 on_picture: Callable[[int, np.ndarray, Truth], None],
                 exact_truth: Callable[[], bool]) -> None:
        """``exact_truth()`` says, for each picture, whether somebody wants boxes by segmentation."""
        self._cell = cell
        self._camera_period_s = 1.0 / camera_rate_hz
        self._clock_ns = clock_ns
        self._on_joints, self._on_picture, self._exact_truth = on_joints, on_picture, exact_truth
        self._command = cell.joint_positions()
        self._lock = threading.Lock()
        self._due = threading.Condition()
        self._snapshot: tuple[int, Snapshot, int] | None = None
        self._scene_number, self._pictured_number = 0, -1
        self._stopping = False
        self.counts: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._guarded, args=(loop,), name=name, daemon=True)
            for loop, name in ((self._physics_loop, "physics"), (self._picture_loop, "pictures"))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends both threads and waits for them."""
        self._stopping = True
        with self._due:
            self._due.notify_all()
        for thread in self._threads:
            thread.join(timeout=5.0)

    def command(self, positions: np.ndarray) -> None:
        """New joint targets (A,), valid from the next 10 ms step until the next call or reset."""
        with self._lock:
            self._command = positions

    def reset(self, seed: int, condition: str, task: str) -> None:
        """A fresh scene, the arm at its start pose and told to stay there.

        Returns when the first picture of the new scene has been handed on, so that whoever asked cannot take an old
        one for new. Raises AutofocusError where none came within 2 s.
        """
        with self._lock:
            self._cell.reset(seed, condition, task)
            self._command = self._cell.joint_positions()
            self._scene_number += 1
            wanted = self._scene_number
        with self._due:
            if not self._due.wait_for(lambda: self._pictured_number >= wanted, timeout=_PICTURE_TIMEOUT_S):
                raise AutofocusError("autofocus_sim reset", f"no picture within {_PICTURE_TIMEOUT_S:g} s",
                                     "a picture of the new scene", f"see why pictures stopped: {self.failure!r}")

    def show_phase(self, phase: int) -> None:
        """The operator's phase, for the lamp. Raises AutofocusError for one that does not exist."""
        with self._lock:
            self._cell.operator_phase = phase

    def _guarded(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except BaseException as failure:
            # A thread's exception would die with it and the cell stand still in silence: the owner looks at this.
            self.failure = failure
            raise

    def _physics_loop(self) -> None:
        due_s = time.monotonic()
        picture_due_s = due_s
        while not self._stopping:
            with self._lock:
                self._cell.step(self._command, COMMAND_PERIOD_S)
                stamp_ns = self._clock_ns()
                positions, velocities = self._cell.joint_positions(), self._cell.joint_velocities()
                success = self._cell.success
                scene_number = self._scene_number
                snapshot = self._cell.snapshot() if due_s >= picture_due_s - COMMAND_PERIOD_S / 2 else None
            self._on_joints(stamp_ns, positions, velocities, success)
            if snapshot is not None:
                picture_due_s += self._camera_period_s
                self._hand_over(stamp_ns, snapshot, scene_number)
            due_s += COMMAND_PERIOD_S
            ahead_s = due_s - time.monotonic()
            if ahead_s > 0:
                time.sleep(ahead_s)
            elif ahead_s < -_MOST_BEHIND_S:
                self.counts["late_ticks"] += round(-ahead_s / COMMAND_PERIOD_S)
                due_s = picture_due_s = time.monotonic()

    def _hand_over(self, stamp_ns: int, snapshot: Snapshot, scene_number: int) -> None:
        with self._due:
            if self._snapshot is not None:
                self.counts["pictures_skipped"] += 1
            self._snapshot = (stamp_ns, snapshot, scene_number)
            self._due.notify_all()

    def _picture_loop(self) -> None:
        view = View(self._cell.image_size)
        try:
            while True:
                with self._due:
                    self._due.wait_for(lambda: self._snapshot is not None or self._stopping)
                    if self._stopping:
                        return
                    stamp_ns, snapshot, scene_number = self._snapshot
                    self._snapshot = None
                view.show(snapshot)
                self._on_picture(stamp_ns, view.render(), view.truth(exact=self._exact_truth()))
                with self._due:
                    self._pictured_number = scene_number
                    self._due.notify_all()
        finally:
            view.close()
