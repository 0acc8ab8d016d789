"""When a model is asked: at the robot's events and lasting changes, never more than agreed."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from saliency_server.keep import Phase
from saliency_server.triggers import Trigger, lasting_changes, triggers
from saliency_server.values import TrackResult
from tracking_scenes import stamps_s

N = 150


def track(valid, why="not detected"):
    valid = np.asarray(valid, dtype=bool)
    boxes = np.where(valid[:, None], [10.0, 10.0, 30.0, 30.0], np.nan)
    return TrackResult(boxes, valid * 0.8, valid, tuple("" if ok else why for ok in valid))


def there(*spans):
    valid = np.zeros(N, dtype=bool)
    for first, last in spans:
        valid[first:last] = True
    return valid


def test_a_quiet_recording_is_asked_about_once():
    asked = triggers([Phase(0, N - 1, "steady")], [track(np.ones(N))] * 3, stamps_s(N))
    assert asked == (Trigger(0, "start"),)


def test_flicker_asks_nothing():
    """At a recall of 0.90 the reference's rule asks about three things at rest 107 times in 200 frames."""
    rng = np.random.default_rng(0)
    flickering = [track(rng.random(N) < 0.9) for _ in range(3)]
    assert len(triggers([Phase(0, N - 1, "steady")], flickering, stamps_s(N))) == 1


def test_gripper_events_ask_and_a_hidden_thing_does_not():
    phases = [Phase(0, 59, "open"), Phase(60, 109, "closed"), Phase(110, N - 1, "open")]
    hidden = track(there((0, 50), (100, N)), "occluded")
    asked = triggers(phases, [track(np.ones(N)), hidden], stamps_s(N))
    assert asked == (Trigger(0, "start"), Trigger(60, "gripper: closed"), Trigger(110, "gripper: open"))


def test_what_comes_for_good_asks_and_the_gripper_goes_first():
    tracks = [track(np.ones(N)), track(there((75, N))), track(there((75, N)))]
    assert triggers([], tracks, stamps_s(N)) == (Trigger(0, "start"), Trigger(75, "came: 2 things"))
    phases = [Phase(0, 29, "open"), Phase(30, 119, "closed"), Phase(120, N - 1, "open")]
    assert [t.frame for t in triggers(phases, tracks, stamps_s(N))] == [0, 30, 120]
    assert [t.frame for t in triggers(phases, tracks, stamps_s(N), most=4)] == [0, 30, 75, 120]


def test_an_event_beside_another_is_one_question():
    phases = [Phase(0, 59, "reaching"), Phase(60, 69, "waiting"), Phase(70, N - 1, "closing")]
    assert [t.why for t in triggers(phases, [], stamps_s(N))] == ["start", "gripper: closing"]


def test_the_first_question_is_asked_where_things_are_in_view():
    late = [track(there((12, N))), track(np.ones(N))]
    assert triggers([], late, stamps_s(N))[0] == Trigger(12, "start")


def test_nothing_to_ask_about():
    assert triggers([], [], np.empty(0)) == ()
    assert triggers([Phase(0, N - 1, "open")], [track(np.ones(N))], stamps_s(N), most=0) == ()


def test_going_for_good_is_a_change_and_a_short_visit_is_none():
    assert lasting_changes([track(there((0, 80)))], stamps_s(N)) == [(80, "gone: 1 thing")]
    assert lasting_changes([track(there((60, 75)))], stamps_s(N)) == []
    assert lasting_changes([track(np.zeros(N))], stamps_s(N)) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(1, 5))
def test_never_more_than_agreed_in_order_and_apart(seed, most):
    rng = np.random.default_rng(seed)
    cuts = np.unique(rng.integers(1, N, rng.integers(0, 20)))
    edges = [0, *cuts.tolist(), N]
    names = rng.choice(["open", "closed", "waiting", "reaching"], len(edges) - 1)
    phases = [Phase(a, b - 1, str(name)) for a, b, name in zip(edges, edges[1:], names, strict=False)]
    tracks = [track(rng.random(N) < rng.random()) for _ in range(4)]
    asked = triggers(phases, tracks, stamps_s(N), most)
    frames = [each.frame for each in asked]
    assert 1 <= len(asked) <= most
    assert frames == sorted(set(frames))
    assert all(0 <= frame < N for frame in frames)
    assert all(b - a >= 0.7 * 30 - 1 for a, b in pairwise(frames))
