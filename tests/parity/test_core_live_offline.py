"""One rule, two ways in: what arrives live, delayed and shuffled, gives the observations a bag gives."""

import core_samples as samples
import numpy as np
import pytest
from autofocus_core.bags import open_bag
from autofocus_core.images import decode_image
from autofocus_core.joints import decode_joints
from autofocus_core.messages import stamp_ns
from autofocus_core.resample import Missing, Resampler, observations

MS = samples.MS
ROBOT = samples.robot(cameras=("front", "wrist"))


def stream(seed):
    """Two cameras and joints with jitter, drops, delays of up to 60 ms, and doubled and zero stamps."""
    rng = np.random.default_rng(seed)
    entries = []
    for topic, period_ms, delay_ms in (("/front/image", 33, 60), ("/wrist/image", 40, 45), ("/joint_states", 10, 15)):
        stamp = samples.T0_NS + int(rng.integers(0, 20 * MS))
        for k in range(int(2500 / period_ms)):
            stamp += int(period_ms * MS * rng.uniform(0.8, 1.2))
            if rng.random() < 0.05 or (topic == "/joint_states" and 1200 < k * period_ms < 1300):
                continue  # dropped; the joints also stall for 100 ms
            written = 0 if rng.random() < 0.02 else stamp
            if topic == "/joint_states":
                message, msgtype = samples.joints([k, seed, 0.01], written), samples.JOINT_STATE
            else:
                message, msgtype = samples.image(np.full((6, 8, 3), k, np.uint8), written), samples.IMAGE
            receive_ns = stamp + int(rng.uniform(1, delay_ms) * MS)
            entries.append((topic, msgtype, message, receive_ns, written))
            if rng.random() < 0.03:
                entries.append((topic, msgtype, message, receive_ns + MS, written))
    return sorted(entries, key=lambda entry: entry[3])


def live(entries):
    """What a node sees: messages in order of receipt; an image is observed once it is settled."""
    resampler = Resampler(ROBOT, ["front", "wrist"])
    seen, waiting = {}, []
    for topic, msgtype, message, _, _ in entries:
        if topic == "/joint_states":
            resampler.push_state(*decode_joints(message, msgtype, ROBOT))
        else:
            camera = topic.split("/")[1]
            stamp = stamp_ns(message.header)
            if resampler.push_image(camera, stamp, decode_image(message, msgtype)) and camera == "front":
                waiting.append(stamp)
        for t in [t for t in waiting if resampler.settled(t)]:
            seen[t] = resampler.observe(t)
            waiting.remove(t)
    return seen


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("storage", ["ours", "sqlite3"])
def test_live_and_offline_observe_the_same(tmp_path, seed, storage):
    entries = stream(seed)
    if storage == "ours":
        path = samples.write_bag(tmp_path / "bag", entries)
    else:
        path = samples.foreign_bag(tmp_path / "bag", entries, storage)
    with open_bag(path) as bag:
        offline = {result.stamp_ns: result for result in observations(bag, ROBOT, ["front", "wrist"])}
    online = live(entries)
    assert len(online) > 50
    assert set(online) <= set(offline)
    assert len(offline) - len(online) <= 4  # the last ones, which live would still be waiting for
    assert any(isinstance(result, Missing) for result in online.values())
    for t, expected in online.items():
        got = offline[t]
        assert type(got) is type(expected), t
        if isinstance(expected, Missing):
            assert got.reason == expected.reason
            continue
        assert (got.state_stamp_ns, got.image_stamps_ns) == (expected.state_stamp_ns, expected.image_stamps_ns)
        np.testing.assert_array_equal(got.state, expected.state)
        for camera in expected.images:
            np.testing.assert_array_equal(got.images[camera], expected.images[camera])
