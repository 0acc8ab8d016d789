"""Every encoding gives the pixels of a plain numpy reference, whichever library does the work."""

import core_samples as samples
import cv2
import numpy as np
import pytest
from autofocus_core import images
from autofocus_core.images import ImageDecodeError, decode_image

H, W = 6, 8
RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (H, W, 3), np.uint8)
MONO = RNG.integers(0, 256, (H, W), np.uint8)
DEEP = RNG.integers(0, 65536, (H, W, 3), np.uint16)


def grey(mono):
    return np.repeat(mono[..., None], 3, axis=2)


def eight_bit(deep):
    return np.floor(deep.astype(np.float64) / 257 + 0.5).astype(np.uint8)  # 65535 / 255 = 257


def alpha(pixels):
    return np.concatenate([pixels, np.full((H, W, 1), 200, pixels.dtype)], axis=2)


EXACT = {
    "rgb8": (RGB, RGB),
    "bgr8": (RGB[..., ::-1], RGB),
    "rgba8": (alpha(RGB), RGB),
    "bgra8": (alpha(RGB[..., ::-1]), RGB),
    "mono8": (MONO, grey(MONO)),
    "8UC1": (MONO, grey(MONO)),
    "mono16": (DEEP[..., 0], grey(eight_bit(DEEP[..., 0]))),
    "rgb16": (DEEP, eight_bit(DEEP)),
    "bgr16": (DEEP[..., ::-1], eight_bit(DEEP)),
    "rgba16": (alpha(DEEP), eight_bit(DEEP)),
    "bgra16": (alpha(DEEP[..., ::-1]), eight_bit(DEEP)),
}
BAYER = {"bayer_rggb8": "RGGB", "bayer_bggr8": "BGGR", "bayer_gbrg8": "GBRG", "bayer_grbg8": "GRBG"}
YUV = {"yuv422": "UYVY", "uyvy": "UYVY", "yuv422_yuy2": "YUYV", "yuyv": "YUYV"}


def mosaic(name):
    """RGB through a colour filter array whose first 2x2 cells are `name`, and the mask of the known colours."""
    channel = np.array([["RGB".index(name[0]), "RGB".index(name[1])], ["RGB".index(name[2]), "RGB".index(name[3])]])
    index = np.tile(channel, (H // 2, W // 2))
    return np.take_along_axis(RGB, index[..., None], axis=2)[..., 0], index


def bilinear(raw, index):
    """Bilinear demosaicing of the inner pixels: each missing colour is the mean of its nearest neighbours."""
    out = np.zeros((H, W, 3))
    for r in range(1, H - 1):
        for c in range(1, W - 1):
            for k in range(3):
                window = raw[r - 1 : r + 2, c - 1 : c + 2].astype(float)
                known = index[r - 1 : r + 2, c - 1 : c + 2] == k
                if known[1, 1]:
                    out[r, c, k] = window[1, 1]
                else:
                    cross = known & np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)
                    out[r, c, k] = window[cross if cross.any() else known].mean()
    return out


def yuv_frame(name):
    """A 4:2:2 frame and the RGB it stands for, by BT.601 (limited range)."""
    y = RNG.integers(16, 236, (H, W)).astype(np.uint8)
    u, v = (RNG.integers(64, 192, (H, W // 2)).astype(np.uint8) for _ in range(2))
    packed = np.empty((H, W, 2), np.uint8)
    luma, chroma = (1, 0) if name == "UYVY" else (0, 1)
    packed[..., luma] = y
    packed[:, 0::2, chroma], packed[:, 1::2, chroma] = u, v
    yy = 1.164383 * (y.astype(float) - 16)
    uu, vv = (np.repeat(plane.astype(float) - 128, 2, axis=1) for plane in (u, v))
    rgb = np.stack([yy + 1.596027 * vv, yy - 0.391762 * uu - 0.812968 * vv, yy + 2.017232 * uu], axis=-1)
    return packed, np.clip(np.rint(rgb), 0, 255)


@pytest.fixture(params=["rosbags-image", "cv_bridge"])
def backend(request, monkeypatch):
    if request.param == "cv_bridge":
        chosen = images.cv_bridge_backend()
        if chosen is None:
            pytest.skip("cv_bridge is not importable here or does not work (it comes with a ROS installation)")
    else:
        chosen = images.rosbags_backend
    monkeypatch.setattr(images, "raw_backend", lambda: chosen)


def test_the_table_is_covered():
    assert {*EXACT, *BAYER, *YUV} == set(images.ENCODINGS)


@pytest.mark.parametrize("pad", [0, 5])
@pytest.mark.parametrize("encoding", EXACT)
def test_plain_encodings(backend, encoding, pad):
    pixels, expected = EXACT[encoding]
    packed_step = pixels[0].size * pixels.itemsize
    msg = samples.image(pixels, encoding=encoding, step=packed_step + pad * 2)
    decoded = decode_image(msg, samples.IMAGE)
    np.testing.assert_array_equal(decoded, expected)
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    assert decoded.flags.writeable


@pytest.mark.parametrize("encoding", ["mono16", "rgb16"])
def test_big_endian(backend, encoding):
    pixels, expected = EXACT[encoding]
    decoded = decode_image(samples.image(pixels.astype(">u2"), encoding=encoding, bigendian=1), samples.IMAGE)
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize("encoding", BAYER)
def test_bayer(backend, encoding):
    raw, index = mosaic(BAYER[encoding])
    decoded = decode_image(samples.image(raw, encoding=encoding), samples.IMAGE)
    np.testing.assert_allclose(decoded[1:-1, 1:-1], bilinear(raw, index)[1:-1, 1:-1], atol=0.5)


@pytest.mark.parametrize("encoding", YUV)
def test_yuv422(backend, encoding):
    packed, expected = yuv_frame(YUV[encoding])
    decoded = decode_image(samples.image(packed, encoding=encoding), samples.IMAGE)
    np.testing.assert_allclose(decoded, expected, atol=1)  # OpenCV computes in fixed point


def test_cv_bridge_gives_what_rosbags_image_gives():
    bridge = images.cv_bridge_backend()
    if bridge is None:
        pytest.skip("cv_bridge is not importable here or does not work (it comes with a ROS installation)")
    for encoding, spec in images.ENCODINGS.items():
        if spec.as_8bit == encoding:
            pixels = RNG.integers(0, 256, (H, W, spec.channels), np.uint8)
            msg = samples.image(pixels, encoding=encoding)
            np.testing.assert_array_equal(bridge(msg), images.rosbags_backend(msg), err_msg=encoding)


def test_png_is_exact_and_jpeg_is_close():
    ramp = np.linspace(0, 255, 64).astype(np.uint8) * np.ones((48, 1), np.uint8)
    smooth = np.stack([ramp, 255 - ramp, ramp // 3], axis=-1)
    png = decode_image(samples.compressed(images.encode_png(smooth), format="rgb8; png compressed"), samples.COMPRESSED)
    np.testing.assert_array_equal(png, smooth)
    jpeg = decode_image(samples.compressed(images.encode_jpeg(smooth, 95)), samples.COMPRESSED)
    assert np.abs(jpeg.astype(int) - smooth).mean() < 3


def test_grey_png():
    data = images.encode_png(MONO)
    np.testing.assert_array_equal(decode_image(samples.compressed(data), samples.COMPRESSED), grey(MONO))


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1", "8UC3", "nonsense"])
def test_what_is_no_picture_is_refused(encoding):
    with pytest.raises(ImageDecodeError, match=encoding):
        decode_image(samples.image(RGB, encoding=encoding), samples.IMAGE)


def test_missing_bytes_are_refused():
    msg = samples.image(RGB)
    msg.data = msg.data[:-1]
    with pytest.raises(ImageDecodeError, match="143 bytes"):
        decode_image(msg, samples.IMAGE, "bag x: topic /y: stamp 5 ns")
    msg = samples.image(RGB)
    msg.width = 9
    with pytest.raises(ImageDecodeError):
        decode_image(msg, samples.IMAGE)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_cut_file_is_refused_not_filled_with_grey(suffix):
    data = cv2.imencode(suffix, RNG.integers(0, 256, (64, 64, 3), np.uint8))[1].tobytes()
    with pytest.raises(ImageDecodeError, match="without its end"):
        decode_image(samples.compressed(data[: len(data) // 2]), samples.COMPRESSED)


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff\xd8\xff\xd9"])
def test_rubbish_is_refused(data):
    with pytest.raises(ImageDecodeError):
        decode_image(samples.compressed(data), samples.COMPRESSED)


def test_depth_is_refused():
    with pytest.raises(ImageDecodeError, match="colour"):
        decode_image(samples.compressed(b"x" * 20, format="16UC1; compressedDepth png"), samples.COMPRESSED)


def test_rclpy_messages_decode_alike():
    sensor_msgs = pytest.importorskip("sensor_msgs.msg", reason="no ROS message packages")
    msg = sensor_msgs.Image(height=H, width=W, encoding="bgr8", step=W * 3)
    msg.data.frombytes(RGB[..., ::-1].tobytes())
    np.testing.assert_array_equal(decode_image(msg, samples.IMAGE), RGB)


def test_frames_of_a_bag_name_bag_topic_and_stamp(tmp_path):
    from autofocus_core.bags import open_bag

    bad = samples.image(RGB, samples.T0_NS + 7)
    bad.encoding = "16UC1"
    path = samples.write_bag(
        tmp_path / "bag",
        [
            ("/front/image", samples.IMAGE, msg, samples.T0_NS + i, None)
            for i, msg in enumerate([samples.image(RGB), bad])
        ],
    )
    with open_bag(path) as bag:
        frames = images.read_images(bag, "/front/image")
        stamp, receive_ns, pixels = next(frames)
        assert (stamp, receive_ns) == (samples.T0_NS, samples.T0_NS)
        np.testing.assert_array_equal(pixels, RGB)
        with pytest.raises(ImageDecodeError) as error:
            next(frames)
    for part in (str(path), "/front/image", str(samples.T0_NS + 7)):
        assert part in error.value.where


@pytest.mark.parametrize("fault", ["raises", "swaps colours", "cannot be made"])
def test_a_cv_bridge_that_does_not_work_is_not_used(monkeypatch, fault):
    """The cv_bridge on PyPI imports, and fails only when it is given an image."""
    import sys
    import types

    class CvBridge:
        def __init__(self):
            if fault == "cannot be made":
                raise AttributeError("_ARRAY_API not found")

        def imgmsg_to_cv2(self, msg, desired_encoding):
            if fault == "raises":
                raise SystemError("built for NumPy 1")
            return np.asarray(msg.data).reshape(msg.height, msg.width, 3)

    module = types.ModuleType("cv_bridge")
    module.CvBridge = CvBridge
    monkeypatch.setitem(sys.modules, "cv_bridge", module)
    assert images.cv_bridge_backend.__wrapped__() is None


def test_a_cv_bridge_that_works_is_used(monkeypatch):
    import sys
    import types

    class CvBridge:
        def imgmsg_to_cv2(self, msg, desired_encoding):
            return images.rosbags_backend(msg)

    module = types.ModuleType("cv_bridge")
    module.CvBridge = CvBridge
    monkeypatch.setitem(sys.modules, "cv_bridge", module)
    chosen = images.cv_bridge_backend.__wrapped__()
    np.testing.assert_array_equal(chosen(samples.image(RGB[..., ::-1], encoding="bgr8")), RGB)
