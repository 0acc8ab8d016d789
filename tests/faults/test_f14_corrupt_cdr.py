"""F14: messages whose bytes are wrong, and lengths that ask for gigabytes. Every decoder drops and counts them with
their topic and stamp; nothing crashes, hangs or takes memory for what a length claims."""

import dataclasses
import json
import os
import resource
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections import Counter
from pathlib import Path

import cdr_mutants
import core_samples as samples
import cv2
import numpy as np
import pytest
from annotate_bags import FRAMES, PERIOD_NS, START_NS, TOPIC, write_bag
from autofocus_core import results
from autofocus_core.bags import BagWriter, open_bag
from autofocus_core.dropped import KEPT, Dropped
from autofocus_core.errors import AutofocusError
from autofocus_core.images import ImageDecodeError, ImageSizeError, decode_image, encode_jpeg, encode_png
from autofocus_core.joints import decode_joints, read_joints
from autofocus_core.resample import Missing, observations
from autofocus_core.schema import load_robot, load_task
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from saliency_server import frames
from saliency_server.gripper import lens_of
from saliency_server.pipeline import annotate_episode

COMMAND = "pytest tests/faults/test_f14_corrupt_cdr.py"
CONFIG = Path(__file__).parents[2] / "ros2_ws/src/autofocus_sim/config"
MUTANTS, LIVE_MUTANTS = 10_000, 3_000
PEAK_MB = 64  # a message of a camera is 3 MB at most here; a length may claim 4 GB
IMAGE_TOPICS = {samples.IMAGE: "/raw/image", samples.COMPRESSED: "/jpeg/image"}
JOINT_TOPICS = {samples.JOINT_STATE: "/joint_states", cdr_mutants.FLOATS: "/floats", cdr_mutants.TRAJECTORY: "/goal"}
TOPICS = IMAGE_TOPICS | JOINT_TOPICS | {cdr_mutants.CAMERA_INFO: "/front/info"}
SIZE_PX = cdr_mutants.WIDTH, cdr_mutants.HEIGHT


@pytest.fixture(scope="module")
def mutant_bag(tmp_path_factory):
    """A bag of MUTANTS wrong messages, each received at its own time; how many there are by topic."""
    writer = BagWriter(tmp_path_factory.mktemp("f14") / "bag")
    for kind, topic in TOPICS.items():
        writer.add_topic(topic, kind)
    counts = Counter()
    for number, (kind, raw) in enumerate(cdr_mutants.mutants(MUTANTS, 14)):
        writer.write(TOPICS[kind], raw, samples.T0_NS + number * samples.MS, None)
        counts[TOPICS[kind]] += 1
    return writer.close(), counts


def looked_at(bag, robot, dropped):
    """Every reader of this project over the bag: messages that came out whole, by topic."""
    whole = Counter()
    for topic in IMAGE_TOPICS.values():
        for message, msg in bag.decoded([topic], dropped):
            try:
                image = decode_image(msg, message.type, size_px=SIZE_PX)
            except AutofocusError as error:
                dropped.add(topic, message.receive_ns, bag.header_ns(message), error)
                continue
            assert image.shape == (*SIZE_PX[::-1], 3) and image.dtype == np.uint8
            whole[topic] += 1
    for topic in JOINT_TOPICS.values():
        before = dropped.counts[topic]
        stamps_ns, positions = read_joints(bag, topic, robot, dropped)
        assert np.isfinite(positions).all() and len(stamps_ns) == len(positions)
        whole[topic] = bag.counts[topic] - (dropped.counts[topic] - before)
    for _ in bag.decoded(["/front/info"], dropped):
        whole["/front/info"] += 1
    return whole


def test_f14_ten_thousand_mutants_through_every_reader_of_bags(mutant_bag):
    path, counts = mutant_bag
    robot = samples.robot(*SIZE_PX)
    tracemalloc.start()
    try:
        with open_bag(path) as bag:
            dropped, began = Dropped(), time.monotonic()
            whole = looked_at(bag, robot, dropped)
            for camera in (camera_of("raw", samples.IMAGE), camera_of("jpeg", samples.COMPRESSED)):
                found = list(frames.read_frames(bag, camera))
                short = [each for each in bag.dropped.first if each.header_ns is None]
                assert len(found) >= counts[camera.topic] - bag.dropped.counts[camera.topic]
                assert all(each.reason for each in found if each.image is None)
                assert all("without a header" in each.reason for each in short)
            frames.read_joints(bag, robot)
            lens_of(bag, camera_of("raw", samples.IMAGE))
            for each in observations(bag, robot_of_both(), ["raw", "jpeg"], dropped=Dropped()):
                assert isinstance(each, Missing) or each.images["raw"].shape == (*SIZE_PX[::-1], 3)
            seconds = time.monotonic() - began
        peak_mb = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    for topic, count in counts.items():
        assert whole[topic] + dropped.counts[topic] == count, topic
        named = [each for each in dropped.first if each.topic == topic]
        assert len(named) == KEPT and all(each.receive_ns >= samples.T0_NS and each.reason for each in named)
    assert sum(dropped.counts.values()) > MUTANTS / 3, "mutants that hurt nothing show nothing"
    results.record("faults", "F14 peak memory over the mutants, lengths of up to 4 GB", peak_mb, "MB", f"<= {PEAK_MB}",
                   peak_mb <= PEAK_MB, COMMAND)
    assert peak_mb <= PEAK_MB and seconds < 300


def test_f14_ten_thousand_mutants_one_by_one(mutant_bag):
    """None of them gets anything but a decoded value or an AutofocusError that names it, and none takes long."""
    path, _ = mutant_bag
    robot = samples.robot(*SIZE_PX)
    slowest_s, crashed = 0.0, Counter()
    with open_bag(path) as bag:
        for message in bag.messages():
            began = time.thread_time()
            try:
                msg = bag.decode(message.type, message.raw, topic=message.topic, receive_ns=message.receive_ns)
                if message.topic in IMAGE_TOPICS.values():
                    decode_image(msg, message.type)
                elif message.topic in JOINT_TOPICS.values():
                    decode_joints(msg, message.type, robot)
            except AutofocusError as error:
                here = message.topic in error.where and str(message.receive_ns) in error.where
                assert here or error.where in ("image", "joints of robot tiny"), error
            except Exception as error:
                crashed[repr(error)] += 1
            slowest_s = max(slowest_s, time.thread_time() - began)
    crashes = crashed.total()
    results.record("faults", f"F14 crashes of {MUTANTS} mutants in the readers of bags", crashes, "crashes", "0",
                   crashes == 0, COMMAND)
    assert not crashed and slowest_s < 5


def camera_of(name, kind):
    (camera,) = samples.robot(*SIZE_PX, cameras=(name,), image_type=kind).cameras
    return camera


def robot_of_both():
    robot = samples.robot(*SIZE_PX, cameras=("raw", "jpeg"))
    return dataclasses.replace(robot, cameras=(camera_of("raw", samples.IMAGE), camera_of("jpeg", samples.COMPRESSED)))


def test_f14_mutants_on_the_wire():
    """What rclpy takes from a wire, and the policy's intake after it, in a process of its own: a crash there is no
    exception."""
    pytest.importorskip("rclpy", reason="rclpy is not installed")
    program = Path(cdr_mutants.__file__)
    done = subprocess.run(
        [sys.executable, str(program), str(LIVE_MUTANTS), "15"], capture_output=True, text=True, timeout=240,
        env=os.environ | {"PYTHONPATH": str(program.parent)},
    )
    crashed = done.returncode != 0
    results.record("faults", f"F14 crashes of {LIVE_MUTANTS} mutants in rclpy and the policy's intake", int(crashed),
                   "crashes", "0", not crashed, COMMAND)
    assert not crashed, (done.returncode, done.stderr[-2000:])
    seen = json.loads(done.stdout.splitlines()[-1])
    assert sum(seen["became"].values()) == LIVE_MUTANTS
    assert seen["refused"] > 100 and seen["became"]["taken or refused"] > LIVE_MUTANTS / 4
    assert seen["grown_mb"] < 200, seen


def test_f14_an_episode_with_mutants_is_annotated_without_them(tmp_path):
    """Undecodable messages are left out, counted and named by topic and stamp; the frames between them keep their
    stamps and boxes. Once a joint state that could not be read failed the whole episode, and so did an image message
    of a few bytes."""
    path = tmp_path / "bag"
    write_bag(tmp_path / "sound")
    truth = annotate(tmp_path / "sound")
    hurt = {3: b"", 4: b"\x00\x01\x00\x00\x05", 9: None, 20: "bits", 21: "stamp"}
    with Reader(tmp_path / "sound") as reader, Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        made = {c.id: writer.add_connection(c.topic, c.msgtype, msgdef=c.msgdef.data, rihs01=c.digest)
                for c in reader.connections}
        number = Counter()
        for connection, stamp_ns, raw in reader.messages():
            i, raw = number[connection.topic], bytearray(raw)
            number[connection.topic] += 1
            if connection.topic == TOPIC and i in hurt:
                what = hurt[i]
                if what is None:
                    raw = raw[:-100]
                elif what == "bits":
                    raw[24:28] = struct.pack("<I", 2**31)  # the length of the frame's name
                elif what == "stamp":
                    raw[7] ^= 0x40  # the year 2058
                else:
                    raw = what
            elif connection.topic != TOPIC and i % 4 == 0:  # one of each four is looked at
                raw[16:20] = struct.pack("<I", 2**32 - 1)
            writer.write(made[connection.id], stamp_ns, bytes(raw))
    annotation = annotate(path)
    recording, camera = annotation.provenance["recording"], annotation.camera("camera")
    assert recording["dropped"] == {TOPIC: 5, "/joint_states": -(-FRAMES // 4)}
    named = {each["receive_ns"]: each for each in recording["dropped_first"] if each["topic"] == TOPIC}
    assert sorted(named) == [START_NS + i * PERIOD_NS for i in hurt]
    assert named[START_NS + 20 * PERIOD_NS]["header_ns"] == START_NS + 20 * PERIOD_NS
    assert not recording["lossy"]
    kept = [i for i in range(FRAMES) if i not in (3, 4, 21)]  # those without a stamp of their own are nowhere
    assert camera.stamps_ns.tolist() == [START_NS + i * PERIOD_NS for i in kept]
    assert [kept[k] for k in np.flatnonzero(~camera.valid)] == [9, 20]
    assert {camera.reason[kept.index(i)] for i in (9, 20)} == {"unreadable image"}
    boxes, sound = (each.camera("camera").object("red cube").boxes_px for each in (annotation, truth))
    assert np.nanmax(np.abs(boxes - sound[kept])) < 1.0


def annotate(path):
    return annotate_episode(path, load_robot(CONFIG / "sim_arm.yaml"), load_task(CONFIG / "lift.yaml"))


def png_bomb(width, height):
    """A PNG of a few bytes that says it is so large."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(100_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def jpeg_bomb(width, height):
    data = bytearray(encode_jpeg(np.zeros((48, 64, 3), np.uint8)))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("bomb", [png_bomb, jpeg_bomb])
@pytest.mark.parametrize("size_px", [(60_000, 60_000), (20_000, 20_000), (640, 481)])
def test_f14_a_decompression_bomb_is_refused_by_its_head(bomb, size_px):
    """60000x60000 is 10 GB of pixels out of a few hundred bytes; OpenCV would begin with 1.2 GB for 20000x20000."""
    msg = samples.compressed(bomb(*size_px))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    with pytest.raises(ImageSizeError, match=f"{size_px[0]}x{size_px[1]}"):
        decode_image(msg, samples.COMPRESSED, size_px=(640, 480))
    if size_px[0] > 10_000:  # and where nobody has told the camera's size
        with pytest.raises(ImageDecodeError, match="at most"):
            decode_image(msg, samples.COMPRESSED)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
    assert grown_mb < 20 and time.monotonic() - began < 2


@pytest.mark.parametrize("claim", [0xFFFFFF00, 0x7FFFFFFF, 20_000])
def test_f14_a_png_chunk_longer_than_its_file_is_refused_before_it_is_decoded(claim):
    """One of the ten thousand mutants, 9 KB with the size of a small picture, took 4 GB and 5 to 8 s of OpenCV: as much
    as the length of its IDAT claimed. Python's own memory, which was watched, saw nothing of it."""
    data = bytearray(encode_png(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)))
    at = data.index(b"IDAT")
    data[at - 4 : at] = struct.pack(">I", claim)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageDecodeError, match="a chunk longer"):
        decode_image(samples.compressed(bytes(data)), samples.COMPRESSED)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024 < 20


def test_f14_a_jpeg_of_thousands_of_scans_is_refused():
    """Each scan is a pass over all pixels: a small file that takes minutes."""
    data = encode_jpeg(np.zeros((48, 64, 3), np.uint8))
    scan = data[data.index(b"\xff\xda") : -2]
    with pytest.raises(ImageDecodeError, match="scans"):
        decode_image(samples.compressed(data[:-2] + scan * 5000 + b"\xff\xd9"), samples.COMPRESSED, size_px=(64, 48))


def test_f14_sound_images_of_all_kinds_pass_the_look_at_their_head():
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    progressive = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    restarts = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_RST_INTERVAL, 4])[1].tobytes()
    for data in (encode_png(pixels), encode_png(pixels[..., 0]), encode_jpeg(pixels), progressive, restarts):
        msg = samples.compressed(data)
        assert decode_image(msg, samples.COMPRESSED, size_px=(64, 48)).shape == (48, 64, 3)
