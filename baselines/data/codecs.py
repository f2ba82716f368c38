"""Pictures in and out of H.264, PNG and JPEG.

Videos are made for training: every other frame stands alone, so that any one is found by decoding two, and no frame
refers to a later one, so that episodes can be strung together and cut apart without decoding anything. One thread
encodes, which makes the bytes a function of the pictures.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from vlagen.baselines.data.demonstration import BadDemonstrations, Codec, Pictures
from vlagen.tasks.interface import CONTROL_FREQUENCY

QUALITY = 18
"""H.264's constant rate factor: differences that nobody sees, mean error about one grey level."""

_X264 = {"preset": "veryfast", "g": "2", "bf": "0", "threads": "1", "sc_threshold": "0"}
_PNG_LEVEL = 3
_JPEG_QUALITY = 95
_TIME_BASE = Fraction(1, CONTROL_FREQUENCY * 2048)


def encode(images: Sequence[np.ndarray] | np.ndarray, codec: Codec, quality: int = QUALITY) -> Pictures:
    """Encodes T pictures (H, W, 3) uint8.

    Args:
        images: at least one; H and W even for ``h264``, whose colours have half the resolution.
        codec: ``png`` loses nothing.
        quality: of ``h264``, 0 to 51, less is better.
    """
    height, width = images[0].shape[:2]
    if codec == "h264":
        parts: tuple[bytes, ...] = (_encode_video(images, quality),)
    else:
        parts = tuple(encode_picture(image, codec) for image in images)
    return Pictures(codec, parts, len(images), height, width)


def decode(pictures: Pictures) -> np.ndarray:
    """Decodes pictures to (T, H, W, 3) uint8.

    Raises:
        BadDemonstrations: damaged, or fewer than there should be.
    """
    if pictures.codec == "h264":
        images = list(decode_video(io.BytesIO(pictures.parts[0]), "a video"))
    else:
        images = [decode_picture(part) for part in pictures.parts]
    if len(images) != pictures.count:
        raise BadDemonstrations(f"{len(images)} pictures were found where {pictures.count} should be")
    return np.stack(images)


def encode_picture(image: np.ndarray, codec: Codec) -> bytes:
    """Encodes one picture (H, W, 3) uint8 as ``png`` or ``jpeg``."""
    buffer = io.BytesIO()
    if codec == "png":
        Image.fromarray(image).save(buffer, "PNG", compress_level=_PNG_LEVEL)
    else:
        Image.fromarray(image).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def decode_picture(data: bytes) -> np.ndarray:
    """Decodes one PNG or JPEG to (H, W, 3) uint8.

    Raises:
        BadDemonstrations: it is neither, or damaged.
    """
    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise BadDemonstrations(f"a picture of {len(data)} bytes cannot be decoded ({error})") from None


def _encode_video(images: Iterable[np.ndarray], quality: int) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = None
        for number, image in enumerate(images):
            if stream is None:
                stream = container.add_stream("libx264", rate=CONTROL_FREQUENCY, options={**_X264, "crf": str(quality)})
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.time_base = stream.codec_context.time_base = Fraction(1, CONTROL_FREQUENCY)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def decode_video(source: Path | io.BytesIO, name: str) -> Iterator[np.ndarray]:
    """Yields the pictures (H, W, 3) uint8 of a video in their order.

    Args:
        source: of the file.
        name: for messages.

    Raises:
        BadDemonstrations: it is absent, no video, or damaged.
    """
    try:
        with av.open(source if isinstance(source, io.BytesIO) else str(source)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            for frame in container.decode(stream):
                yield frame.to_ndarray(format="rgb24")
    except FileNotFoundError:
        raise BadDemonstrations(f"{name} is missing; restore it, or collect again into a new folder") from None
    except (av.FFmpegError, IndexError) as error:
        raise BadDemonstrations(f"{name} cannot be decoded ({error}); restore it from a copy") from None


def join_videos(videos: Iterable[bytes], path: Path) -> list[int]:
    """Strings videos of ``encode`` together without touching their pictures.

    Args:
        videos: mp4 files that were encoded alike.
        path: where to.

    Returns:
        How many frames each has.
    """
    counts = []
    with av.open(str(path), "w", format="mp4") as out:
        stream, first = None, 0
        for video in videos:
            with av.open(io.BytesIO(video)) as source:
                packets = _packets(source)
                if stream is None:
                    stream = _copy_of(out, source)
                for place, packet in enumerate(packets):
                    _mux(out, stream, packet, first + place)
            counts.append(len(packets))
            first += len(packets)
    return counts


def cut_videos(path: Path, counts: Sequence[int]) -> Iterator[bytes]:
    """Takes a video of ``join_videos`` apart without touching the pictures.

    Args:
        path: of the video.
        counts: how many frames each part has.

    Yields:
        An mp4 file for each part.

    Raises:
        BadDemonstrations: the video is absent, damaged or shorter, or a part does not begin with a frame that stands
            alone.
    """
    try:
        with av.open(str(path)) as source:
            packets = _packets(source)
            if len(packets) < sum(counts):
                raise BadDemonstrations(f"{path} has {len(packets)} frames; its episodes have {sum(counts)}")
            first = 0
            for count in counts:
                part = packets[first : first + count]
                if not part[0].is_keyframe or any(packet.pts != packet.dts for packet in part):
                    raise BadDemonstrations(f"{path} was not encoded by vlagen: it cannot be cut at frame {first}")
                buffer = io.BytesIO()
                with av.open(buffer, "w", format="mp4") as out:
                    stream = _copy_of(out, source)
                    for place, packet in enumerate(part):
                        _mux(out, stream, packet, place)
                first += count
                yield buffer.getvalue()
    except FileNotFoundError:
        raise BadDemonstrations(f"{path} is missing; restore it, or collect again into a new folder") from None
    except av.FFmpegError as error:
        raise BadDemonstrations(f"{path} cannot be read ({error}); restore it from a copy") from None


def _packets(source: av.container.InputContainer) -> list[av.Packet]:
    return [packet for packet in source.demux(video=0) if packet.size]


def _copy_of(out: av.container.OutputContainer, source: av.container.InputContainer) -> av.VideoStream:
    stream = out.add_stream_from_template(source.streams.video[0])
    stream.time_base = _TIME_BASE
    return stream


def _mux(out: av.container.OutputContainer, stream: av.VideoStream, packet: av.Packet, place: int) -> None:
    """Writes a packet as the frame at a place of the new video; the packet may be written again elsewhere."""
    copy = av.Packet(bytes(packet))
    copy.is_keyframe = packet.is_keyframe
    copy.stream, copy.time_base = stream, Fraction(1, CONTROL_FREQUENCY)
    copy.pts = copy.dts = place
    copy.duration = 1
    out.mux(copy)
