"""F13: header stamps that are duplicate, out of order, zero or from the future: the aligner sorts and flags them."""

import random

import core_samples as samples
import numpy as np
from autofocus_core import results
from autofocus_core.bags import open_bag
from autofocus_core.resample import Missing, Observation, Resampler, observations
from autofocus_core.stream_buffer import MAX_AHEAD_NS, StampCounts
from hypothesis import given
from hypothesis import strategies as st

MS = samples.MS
ROBOT = samples.robot(cameras=("front", "wrist"))
CAMERAS = ("front", "wrist")
TOPICS = {"front": "/front/image", "wrist": "/wrist/image", "state": "/joint_states"}
PERIODS_MS = {"front": 33, "wrist": 40, "state": 10}
FAULTS = ("zero", "duplicate", "backwards", "future")
COMMAND = "pytest tests/faults/test_f13_stamps.py"


def message(stream, number, stamp):
    if stream == "state":
        return samples.JOINT_STATE, samples.joints([number, -number, 0.01], stamp)
    return samples.IMAGE, samples.image(np.full((6, 8, 3), number % 256, np.uint8), stamp)


def recording(seed, faulty):
    """A recording of 3 s in order of receipt; with `faulty` every tenth message or so has one fault, and which.

    Gives (entries for the bag, {stream: StampCounts that must be found}, {stream: {stamp: number} that must be used}).
    """
    rng = random.Random(seed)
    entries, truth, used = [], {}, {}
    for stream, topic in TOPICS.items():
        counts, stamps = StampCounts(), {}
        queue = []
        for number in range(3000 // PERIODS_MS[stream]):
            stamp = samples.T0_NS + number * PERIODS_MS[stream] * MS + rng.randrange(MS)
            queue.append((number, stamp, stamp + 2 * MS))
        number = 0
        while number < len(queue):
            value, stamp, receive_ns = queue[number]
            fault = rng.choice(FAULTS) if faulty and rng.random() < 0.15 and 0 < number < len(queue) - 1 else ""
            written = [(value, stamp, receive_ns)]
            stamps[stamp] = value
            if fault == "zero":
                written = [(value, 0, receive_ns)]
                del stamps[stamp]
            elif fault == "future":
                written = [(value, receive_ns + MAX_AHEAD_NS + 1 + rng.randrange(10**12), receive_ns)]
                del stamps[stamp]
            elif fault == "duplicate":
                written.append((value + 1000, stamp, receive_ns + MS))
            elif fault == "backwards":  # it overtakes the next one
                following = queue[number + 1]
                written = [(following[0], following[1], receive_ns), (value, stamp, receive_ns + MS)]
                stamps[following[1]] = following[0]
                number += 1
            for which, header, received in written:
                entries.append((topic, *message(stream, which, header), received, header))
            counts.received += len(written)
            if fault:
                setattr(counts, fault, getattr(counts, fault) + 1)
            number += 1
        truth[stream], used[stream] = counts, stamps
    return sorted(entries, key=lambda entry: entry[3]), truth, used


def aligned(used, t):
    """What the rule at the top of resample.py says, written down once more: {stream: stamp} or None."""
    found = {}
    for stream, stamps in used.items():
        timeout_ns = round((ROBOT.state if stream == "state" else ROBOT.camera(stream)).timeout_ms * MS)
        before = [stamp for stamp in stamps if t - timeout_ns <= stamp <= t]
        if not before:
            return None
        found[stream] = max(before)
    return found


def test_f13_stamps(tmp_path):
    flagged = injected = observed = 0
    for seed in range(4):
        entries, truth, used = recording(seed, faulty=True)
        counts: dict[str, StampCounts] = {}
        with open_bag(samples.write_bag(tmp_path / f"bag{seed}", entries)) as bag:
            found = list(observations(bag, ROBOT, CAMERAS, counts=counts))
        assert [o.stamp_ns for o in found] == sorted(used["front"])
        for observation in found:
            expected = aligned(used, observation.stamp_ns)
            if expected is None:
                assert isinstance(observation, Missing)
                continue
            assert isinstance(observation, Observation)
            stamps = {**observation.image_stamps_ns, "state": observation.state_stamp_ns}
            assert stamps == expected
            assert observation.state[0] == used["state"][stamps["state"]]
            for camera in CAMERAS:
                assert observation.images[camera][0, 0, 0] == used[camera][stamps[camera]] % 256
            observed += 1
        for stream in TOPICS:
            assert counts[stream].received == truth[stream].received
            for fault in FAULTS:
                injected += getattr(truth[stream], fault)
                flagged += min(getattr(counts[stream], fault), getattr(truth[stream], fault))
            assert counts[stream] == truth[stream], (seed, stream)
    assert injected > 100
    assert observed > 200
    share = 100 * flagged / injected
    results.record("faults", f"F13 stamps: faults flagged, of {injected}", share, "%", "= 100", share == 100, COMMAND)
    assert share == 100


def test_f13_a_clean_recording_has_no_faults(tmp_path):
    entries, truth, _ = recording(0, faulty=False)
    counts: dict[str, StampCounts] = {}
    with open_bag(samples.write_bag(tmp_path / "bag", entries)) as bag:
        assert len(list(observations(bag, ROBOT, CAMERAS, counts=counts))) == truth["front"].received
    assert all(c.zero == c.duplicate == c.backwards == c.future == 0 for c in counts.values())


def test_f13_a_stamp_from_the_future_does_not_settle_the_others(tmp_path):
    """One joint state an hour ahead made every later image look settled: it was answered with the joints of before."""
    entries = [("/joint_states", *message("state", 999, samples.T0_NS + 3600_000 * MS), samples.T0_NS, None)]
    for k in range(30):
        stamp = samples.T0_NS + k * 10 * MS
        for stream in TOPICS if k % 3 == 0 else ("state",):
            # The joints of a stamp arrive after the image of the same stamp.
            late = MS if stream == "state" else 0
            entries.append((TOPICS[stream], *message(stream, k, stamp), stamp + MS + late, stamp))
    entries.sort(key=lambda entry: entry[3])
    counts: dict[str, StampCounts] = {}
    with open_bag(samples.write_bag(tmp_path / "bag", entries)) as bag:
        found = list(observations(bag, ROBOT, CAMERAS, counts=counts))
    assert [o.state_stamp_ns for o in found] == [o.stamp_ns for o in found]
    assert counts["state"].future == 1


def test_f13_streams_without_one_good_stamp_say_so(tmp_path):
    entries = [("/joint_states", *message("state", k, 0), samples.T0_NS + k * 10 * MS, 0) for k in range(20)]
    for k in range(5):
        stamp = samples.T0_NS + k * 33 * MS
        entries += [(TOPICS[camera], *message(camera, k, stamp), stamp, stamp) for camera in CAMERAS]
    counts: dict[str, StampCounts] = {}
    with open_bag(samples.write_bag(tmp_path / "bag", sorted(entries, key=lambda entry: entry[3]))) as bag:
        found = list(observations(bag, ROBOT, CAMERAS, counts=counts))
    assert {o.reason for o in found} == {"state: nothing received with a stamp that can be used"}
    assert counts["state"] == StampCounts(received=20, zero=20)


@st.composite
def pushes(draw):
    """Messages of all streams, some of them zero or sent twice; and the same in another order."""
    messages = []
    for stream in TOPICS:
        stamps = draw(st.lists(st.integers(0, 400), max_size=25))
        messages += [(stream, stamp * MS) for stamp in stamps]
    return messages, draw(st.permutations(messages))


@given(pushes(), st.integers(0, 450))
def test_f13_any_order_gives_the_same_aligned_values(orders, t_ms):
    def observe(messages):
        resampler = Resampler(ROBOT, CAMERAS)
        for stream, stamp in messages:
            if stream == "state":
                resampler.push_state(stamp, np.full(3, stamp))
            else:
                resampler.push_image(stream, stamp, np.full((6, 8, 3), stamp // MS % 256, np.uint8))
        return resampler, resampler.observe(t_ms * MS)

    one, other = (observe(messages) for messages in orders)
    assert type(one[1]) is type(other[1])
    if isinstance(one[1], Missing):
        assert one[1] == other[1]
    else:
        assert one[1].image_stamps_ns == other[1].image_stamps_ns
        assert one[1].state_stamp_ns == other[1].state_stamp_ns
        np.testing.assert_array_equal(one[1].state, other[1].state)
        for camera in CAMERAS:
            np.testing.assert_array_equal(one[1].images[camera], other[1].images[camera])
    for stream in TOPICS:  # how many went backwards depends on the order, of course
        left, right = one[0].counts[stream], other[0].counts[stream]
        assert (left.received, left.zero, left.duplicate) == (right.received, right.zero, right.duplicate)
