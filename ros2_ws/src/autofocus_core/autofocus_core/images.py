"""Image messages to RGB arrays: cv_bridge where it is installed and works, rosbags-image otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from rosbags.image import ImageError, image_to_cvimage

from autofocus_core.errors import AutofocusError
from autofocus_core.image_header import image_size_px, jpeg_scans, png_chunks_fit
from autofocus_core.messages import stamp_ns

if TYPE_CHECKING:
    from autofocus_core.bags import Bag

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a raw encoding lies in memory, and the 8-bit encoding that its pixels are given on as."""

    channels: int
    dtype: type
    as_8bit: str


#: sensor_msgs encodings that are pictures. Depth (16UC1, 32FC1) and 8UC3, whose order of channels nobody
#: declares, are refused: a guess here is a wrong picture. "uyvy" and "yuyv" go by their older names, which
#: every cv_bridge knows.
ENCODINGS = {
    "rgb8": Encoding(3, np.uint8, "rgb8"),
    "bgr8": Encoding(3, np.uint8, "bgr8"),
    "rgba8": Encoding(4, np.uint8, "rgba8"),
    "bgra8": Encoding(4, np.uint8, "bgra8"),
    "mono8": Encoding(1, np.uint8, "mono8"),
    "8UC1": Encoding(1, np.uint8, "mono8"),
    "mono16": Encoding(1, np.uint16, "mono8"),
    "rgb16": Encoding(3, np.uint16, "rgb8"),
    "bgr16": Encoding(3, np.uint16, "bgr8"),
    "rgba16": Encoding(4, np.uint16, "rgba8"),
    "bgra16": Encoding(4, np.uint16, "bgra8"),
    "bayer_rggb8": Encoding(1, np.uint8, "bayer_rggb8"),
    "bayer_bggr8": Encoding(1, np.uint8, "bayer_bggr8"),
    "bayer_gbrg8": Encoding(1, np.uint8, "bayer_gbrg8"),
    "bayer_grbg8": Encoding(1, np.uint8, "bayer_grbg8"),
    "yuv422": Encoding(2, np.uint8, "yuv422"),
    "uyvy": Encoding(2, np.uint8, "yuv422"),
    "yuv422_yuy2": Encoding(2, np.uint8, "yuv422_yuy2"),
    "yuyv": Encoding(2, np.uint8, "yuv422_yuy2"),
}

_END_MARKS = {b"\xff\xd8": (b"\xff\xd9", "JPEG"), b"\x89P": (b"IEND", "PNG")}
_END_WINDOW_BYTES = 256  # some cameras pad behind the end mark
MAX_PIXELS = 1 << 26  # of an image whose size nobody has told: 64 megapixels
MAX_SCANS = 100  # of a JPEG


class ImageDecodeError(AutofocusError):
    """An image message whose pixels cannot be told for certain."""


class ImageSizeError(ImageDecodeError):
    """An image message of another size than its camera's. `size_px`: (width, height) that it has."""

    def __init__(self, where: str, size_px: tuple[int, int], wanted_px: tuple[int, int]) -> None:
        width, height = size_px
        super().__init__(
            where,
            f"an image of {width}x{height}",
            f"{wanted_px[0]}x{wanted_px[1]}, as in the robot YAML",
            "set the camera driver to this size, or correct the robot YAML",
        )
        self.size_px = size_px


def decode_image(
    msg: Any, msgtype: str, where: str = "image", size_px: tuple[int, int] | None = None
) -> np.ndarray:
    """RGB pixels of an Image or CompressedImage message (rclpy's or rosbags').

    Returns uint8 (H, W, 3), contiguous, its own memory. `where` begins the error message. 16-bit encodings
    are scaled by 255/65535 and rounded, as cv_bridge does. Raises ImageDecodeError for an encoding that is
    no picture, for missing bytes, and for a compressed image that is cut or damaged; before anything is decoded
    ImageSizeError for one that is not of `size_px` (width, height), and without `size_px` ImageDecodeError for one of
    more than MAX_PIXELS.
    """
    if msgtype == IMAGE:
        return _decode_raw(msg, where, size_px)
    if msgtype == COMPRESSED_IMAGE:
        return _decode_compressed(msg, where, size_px)
    raise ImageDecodeError(
        where, f"type {msgtype}", f"{IMAGE} | {COMPRESSED_IMAGE}", "correct the camera's type in the robot YAML"
    )


def read_images(bag: Bag, topic: str) -> Iterator[tuple[int, int, np.ndarray]]:
    """(header stamp ns, receive stamp ns, RGB uint8 (H, W, 3)) of each image of a topic, in order of receipt.

    Errors name the bag, the topic and the stamp.
    """
    for message, msg in bag.decoded([topic]):
        header_ns = stamp_ns(msg.header)
        yield (
            header_ns,
            message.receive_ns,
            decode_image(msg, message.type, f"bag {bag.path}: topic {topic}: stamp {header_ns} ns"),
        )


def encode_png(image: np.ndarray) -> bytes:
    """PNG bytes of an RGB (H, W, 3) or mono (H, W) uint8 image."""
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    return bytes(_encode(".png", pixels, []))


def encode_jpeg(image: np.ndarray, quality: int = 90) -> bytes:
    """JPEG bytes of an RGB (H, W, 3) uint8 image."""
    return bytes(_encode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]))


def _encode(suffix: str, pixels: np.ndarray, options: list[int]) -> np.ndarray:
    done, data = cv2.imencode(suffix, pixels, options)
    if not done:
        raise ImageDecodeError(
            "image encoding", f"{pixels.dtype} {pixels.shape}", "uint8 (H, W) or (H, W, 3)", "pass such an array"
        )
    return data


def _decode_raw(msg: Any, where: str, size_px: tuple[int, int] | None) -> np.ndarray:
    encoding = ENCODINGS.get(msg.encoding)
    if encoding is None:
        raise ImageDecodeError(
            where,
            f"encoding {msg.encoding!r}",
            ", ".join(ENCODINGS),
            "set the camera driver to a colour encoding such as rgb8",
        )
    height, width = int(msg.height), int(msg.width)
    if size_px is not None and (width, height) != size_px:
        raise ImageSizeError(where, (width, height), size_px)
    row_bytes = width * encoding.channels * np.dtype(encoding.dtype).itemsize
    step = int(msg.step)
    data = np.frombuffer(msg.data, np.uint8)
    if height == 0 or width == 0 or step < row_bytes or data.size < step * height:
        raise ImageDecodeError(
            where,
            f"{width}x{height} {msg.encoding}, step {step}, {data.size} bytes",
            f"step >= {row_bytes} and >= step * height bytes",
            "mend the camera driver, or leave this recording out",
        )
    # rosbags-image takes rows as packed; padded ones would shear the picture.
    rows = np.ascontiguousarray(data[: step * height].reshape(height, step)[:, :row_bytes])
    if encoding.dtype is np.uint16:
        order = ">u2" if msg.is_bigendian else "<u2"
        rows = np.rint(rows.view(order) * (255.0 / 65535.0)).astype(np.uint8)
    packed = SimpleNamespace(
        height=height,
        width=width,
        encoding=encoding.as_8bit,
        is_bigendian=int(sys.byteorder == "big"),
        step=width * encoding.channels,
        data=rows.reshape(-1),
    )
    try:
        return np.array(raw_backend()(packed), dtype=np.uint8, order="C")
    except (ImageError, cv2.error, ValueError, TypeError) as error:  # CvBridgeError is a TypeError
        raise ImageDecodeError(
            where, f"{width}x{height} {msg.encoding}: {error}", "a decodable image", "check the camera driver"
        ) from error


def _decode_compressed(msg: Any, where: str, size_px: tuple[int, int] | None) -> np.ndarray:
    if "compressedDepth" in msg.format:
        raise ImageDecodeError(
            where, f"format {msg.format!r}", "a colour image (jpeg, png)", "choose the camera's colour topic"
        )
    data = np.frombuffer(msg.data, np.uint8)
    _check_compressed(data, msg.format, where, size_px)
    try:
        # Colours of a compressed image are those of its file, so there is nothing for cv_bridge to know better.
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageDecodeError(
            where, f"format {msg.format!r}: {error}", "jpeg or png", "check the camera driver"
        ) from error
    if pixels is None:
        raise ImageDecodeError(
            where, f"{data.size} bytes, format {msg.format!r}", "a decodable jpeg or png", "leave this recording out"
        )
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _check_compressed(data: np.ndarray, format: str, where: str, size_px: tuple[int, int] | None) -> None:
    """Raise ImageDecodeError for what is no whole JPEG or PNG of a bearable size."""
    found = image_size_px(data.data)
    if found is None:
        raise ImageDecodeError(
            where,
            f"{data.size} bytes, format {format!r}, that do not begin as a JPEG or PNG",
            "jpeg or png",
            "set the camera driver or image_transport to jpeg or png",
        )
    mark, name = _END_MARKS[data[:2].tobytes()]
    if mark not in data[-_END_WINDOW_BYTES:].tobytes():
        # OpenCV fills the missing part of a cut JPEG with grey and says nothing.
        raise ImageDecodeError(
            where, f"a {name} of {data.size} bytes without its end", f"a whole {name}", "leave this recording out"
        )
    if name == "PNG" and not png_chunks_fit(data.data):
        raise ImageDecodeError(
            where, f"{data.size} bytes of PNG with a chunk longer than that", "a whole PNG", "leave this recording out"
        )
    if size_px is not None and found != size_px:
        raise ImageSizeError(where, found, size_px)
    if found[0] * found[1] > MAX_PIXELS:
        raise ImageDecodeError(
            where, f"a {name} of {found[0]}x{found[1]}", f"at most {MAX_PIXELS} px", "leave this recording out"
        )
    if name == "JPEG" and jpeg_scans(data.tobytes()) > MAX_SCANS:
        raise ImageDecodeError(
            where, f"a JPEG of more than {MAX_SCANS} scans", "one of a camera", "leave this recording out"
        )


@lru_cache(maxsize=1)
def raw_backend() -> Callable[[Any], np.ndarray]:
    """What turns a packed 8-bit raw image message into RGB: cv_bridge if it proves itself, else rosbags-image."""
    return cv_bridge_backend() or rosbags_backend


def rosbags_backend(msg: Any) -> np.ndarray:
    """RGB pixels by rosbags-image."""
    return image_to_cvimage(msg, "rgb8")


@lru_cache(maxsize=1)
def cv_bridge_backend() -> Callable[[Any], np.ndarray] | None:
    """RGB pixels by cv_bridge, or None where it is not importable or gets a 2x1 picture wrong.

    The cv_bridge on PyPI imports and then fails with NumPy 2, hence the trial.
    """
    try:
        from cv_bridge import CvBridge

        bridge = CvBridge()

        def convert(msg: Any) -> np.ndarray:
            return bridge.imgmsg_to_cv2(msg, desired_encoding="rgb8")

        for encoding, expected in (("rgb8", [[[1, 2, 3], [4, 5, 6]]]), ("bgr8", [[[3, 2, 1], [6, 5, 4]]])):
            trial = SimpleNamespace(
                height=1, width=2, encoding=encoding, is_bigendian=0, step=6, data=np.arange(1, 7, dtype=np.uint8)
            )
            if not np.array_equal(convert(trial), expected):
                return None
    except Exception:  # a foreign binary module fails in its own ways: ImportError, SystemError, AttributeError, ...
        return None
    return convert
