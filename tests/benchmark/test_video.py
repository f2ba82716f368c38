import numpy as np
import pytest

from tests.benchmark import toys
from vlagen.benchmark.video import FRAMES_PER_SECOND, write_video

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")


def test_a_video_is_h264_in_real_time_with_every_frame(tmp_path):
    frames = [np.full((48, 64, 3), 10 * number, dtype=np.uint8) for number in range(10)]
    write_video(tmp_path / "new" / "video.mp4", frames)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["video.mp4"]
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "new" / "video.mp4"))
    facts = next(reader)
    assert (facts["codec"], facts["fps"], facts["size"]) == ("h264", FRAMES_PER_SECOND, (64, 48))
    pictures = [np.frombuffer(frame, dtype=np.uint8) for frame in reader]
    assert len(pictures) == 10
    # Lossy, so that only the order of magnitude is kept.
    assert [round(float(picture.mean()), -1) for picture in pictures] == [10 * number for number in range(10)]


def names(out):
    return sorted(str(path.relative_to(out / "videos")) for path in (out / "videos").rglob("*"))


def test_failures_and_errors_leave_videos_and_successes_do_not(tmp_path):
    evaluation = toys.evaluate(tmp_path, toys.NanPolicy, rows=("vision/table",), video="failures")
    odd = [episode.index for episode in evaluation.episodes if episode.index % 2]
    assert names(tmp_path) == sorted(["vision-table", *(f"vision-table/{index}_error.mp4" for index in odd)])


def test_all_episodes_leave_videos_on_request_from_any_worker(tmp_path):
    evaluation = toys.evaluate(tmp_path, toys.FastPolicy, rows=("train",), episodes=2, video="all", workers=2)
    indices = [episode.index for episode in evaluation.episodes]
    assert names(tmp_path) == sorted(["train", *(f"train/{index}_failure.mp4" for index in indices)])


def test_filming_does_not_change_records(tmp_path):
    toys.evaluate(tmp_path / "filmed", rows=("train",), episodes=2, video="all")
    toys.evaluate(tmp_path / "not", rows=("train",), episodes=2)
    assert toys.timeless_lines(tmp_path / "filmed") == toys.timeless_lines(tmp_path / "not")
