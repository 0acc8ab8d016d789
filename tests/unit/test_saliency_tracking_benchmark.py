"""The tracking benchmark itself: the reference's rule as measured, a detector degraded as asked for, fair counts."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from tracking_parts.detector import Fault, degrade
from tracking_parts.episodes import Episode, Thing
from tracking_parts.measure import Tally, add_episode
from tracking_parts.reference_rule import follow_greedily, iou

N = 200
CLEAN = {"jitter": 0.0, "jitter_px": 0.0, "wild": 0.0, "alarms": 0.0, "double": 0.0}


def episode(n=N):
    """Three things at rest."""
    def thing(name, x):
        box = np.tile([x, 100.0, x + 20.0, 120.0], (n, 1))
        return Thing(name, box, (box[:, :2] + box[:, 2:]) / 2, np.ones(n, dtype=bool))

    things = {name: thing(name, x) for name, x in (("red cube", 50.0), ("white plate", 120.0), ("blue box", 200.0))}
    return Episode("nominal", 1, np.arange(n) / 30.0, (240, 320), np.zeros(n), things, None)


@pytest.mark.parametrize(("recall", "low", "high"), [(1.0, 1, 1), (0.99, 4, 22), (0.95, 35, 75), (0.90, 75, 120)])
def test_the_reference_rule_asks_as_often_as_the_reference_does(recall, low, high):
    """Measured with the reference's own functions, three things at rest, 200 frames: 1, 9, 40 and 107 questions."""
    asked = len(follow_greedily(degrade(episode(), Fault(recall, **CLEAN))).questions)
    assert low <= asked <= high


def test_the_reference_rule_asks_in_every_frame_without_detections():
    assert len(follow_greedily([((), (), ())] * N).questions) == N


def test_the_reference_rule_forgets_after_one_frame_and_keeps_an_id_until_then():
    found = degrade(episode(4), Fault(1.0, **CLEAN))
    found[2] = ((), *found[2][1:])
    ids = follow_greedily(found).ids
    assert set(ids[0]) == set(ids[1])
    assert len(set(ids[3]) - set(ids[1])) == 1


@pytest.mark.parametrize("burst", [1.0, 4.0])
def test_recall_is_what_was_asked_for_and_misses_come_in_bursts(burst):
    found = degrade(episode(5_000), Fault(0.9, burst, **CLEAN))
    missed = np.array([[not each for each in frame] for frame in found])
    assert missed.mean() == pytest.approx(0.1, abs=0.02)
    begins = (missed[1:] & ~missed[:-1]).sum()
    assert missed.sum() / begins == pytest.approx(burst if burst > 1 else 1 / 0.9, rel=0.15)


def test_degrading_is_repeatable_and_jitters():
    a, b = (degrade(episode(50), Fault(0.9)) for _ in range(2))
    assert a == b
    boxes = np.array([frame[0][0].box_px for frame in degrade(episode(2000), Fault(1.0, alarms=0.0, double=0.0))])
    assert 0.7 < boxes.std(axis=0).mean() < 1.6


def test_counting_a_perfect_tracker_a_swap_and_a_false_box():
    truth = episode(10)
    perfect = [{name: (name, thing.boxes_px[i]) for name, thing in truth.things.items()} for i in range(10)]
    tally = Tally()
    add_episode(tally, truth, perfect, 2)
    assert (tally.coverage, tally.switches, tally.error(95), tally.false_boxes) == (1.0, 0, 0.0, 0)
    swapped = [
        {("b" if i >= 5 else "a") if name == "red cube" else name: box for name, box in frame.items()}
        for i, frame in enumerate(perfect)
    ]
    swapped[7]["extra"] = ("red cube", np.array([0.0, 0.0, 9.0, 9.0]))
    del swapped[8]["white plate"]
    tally = Tally()
    add_episode(tally, truth, swapped, 2)
    assert tally.switches == 1
    assert tally.switches_per_ten == 10.0
    assert tally.false_boxes == 1
    assert tally.coverage == pytest.approx(29 / 30)


def test_a_box_of_another_name_or_beside_the_thing_does_not_count():
    truth = episode(3)
    box = truth.things["red cube"].boxes_px[0]
    tally = Tally()
    add_episode(tally, truth, [{1: ("blue box", box)}, {1: ("red cube", box + 15)}, {1: ("red cube", box + 5)}], 1)
    assert tally.covered == 1
    assert tally.false_boxes == 2


def test_iou():
    assert iou(np.array([0, 0, 2, 2.0]), np.array([1, 0, 3, 2.0])) == pytest.approx(1 / 3)
    assert iou(np.array([0, 0, 2, 2.0]), np.array([2, 0, 3, 2.0])) == 0.0
