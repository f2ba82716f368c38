import subprocess
import sys

import numpy as np
import pytest

from tests.benchmark import toys
from vlagen.benchmark.records import EpisodeRecord
from vlagen.benchmark.simulator import StepResult
from vlagen.benchmark.watching import video
from vlagen.benchmark.watching.captions import OUTCOME_COLOURS, Caption, captioned, font, shorten, wrap
from vlagen.benchmark.watching.video import BadVideoMode, Film, Recorder, needs_recording, parse_video_mode, wants_video
from vlagen.tasks.interface import CONTROL_FREQUENCY, Observation
from vlagen.tasks.sampling import evaluation_episodes
from vlagen.tasks.variants import variant

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")

EPISODES = evaluation_episodes(variant("train"), 3)
HORIZON = 4
HOLD_FRAMES = 10


class Camera:
    """Pictures of 480 × 640 that are 50 grey levels brighter after each step, and one level more for each episode."""

    horizon, capacity, shows, control_frequency = HORIZON, 8, True, CONTROL_FREQUENCY

    def start(self, episodes):
        self.batch, self.now = len(episodes), 0
        return self._observe()

    def step(self, actions):
        self.now += 1
        nothing = np.zeros(self.batch)
        return StepResult(self._observe(), nothing, nothing > 0, None, None)

    def close(self):
        self.closed = True

    def _observe(self):
        brightness = 50 * self.now + np.arange(self.batch).reshape(-1, 1, 1, 1)
        rgb = np.broadcast_to(brightness, (self.batch, 480, 640, 3)).astype(np.uint8)
        nothing = np.zeros((self.batch, 8), np.float32)
        return Observation(
            rgb=rgb if self.shows else None,
            instruction=("Move it so it’s there",) * self.batch,
            proprioception=nothing,
            gripper_pose=nothing[:, :7],
            step=self.now,
        )


def record(episode, outcome="failure", **fields):
    return EpisodeRecord(
        protocol=episode.protocol,
        row=episode.variant,
        index=episode.index,
        assets="toy",
        seed=0,
        outcome=outcome,
        **fields,
    )


def film(recorder, episodes=EPISODES, camera=Camera):
    simulator = recorder.wrap(camera())
    simulator.start(episodes)
    for _ in range(HORIZON):
        simulator.step(np.zeros((len(episodes), 7), np.float32))


def read(path):
    reader = imageio_ffmpeg.read_frames(str(path))
    facts = next(reader)
    width, height = facts["size"]
    return facts, [np.frombuffer(frame, dtype=np.uint8).reshape(height, width, 3) for frame in reader]


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_modes_are_names_or_numbers():
    assert [parse_video_mode(text) for text in ("none", "failures", "all", "1", "12", 3)] == [
        "none",
        "failures",
        "all",
        1,
        12,
        3,
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "failurs",
            r"unknown video mode 'failurs'; did you mean 'failures'\? allowed: none, failures, all, or a number",
        ),
        ("0", "unknown video mode '0'; allowed: none, failures, all, or a number from 1"),
        ("-3", "unknown video mode '-3'"),
        ("1.5", "unknown video mode '1.5'"),
        ("", "unknown video mode ''"),
    ],
)
def test_other_modes_are_refused_with_what_is_allowed(text, complaint):
    with pytest.raises(BadVideoMode, match=complaint):
        parse_video_mode(text)


@pytest.mark.parametrize(
    ("mode", "outcome", "position", "filmed", "kept"),
    [
        ("none", "failure", 0, False, False),
        ("all", "success", 99, True, True),
        ("failures", "success", 0, True, False),
        ("failures", "failure", 99, True, True),
        ("failures", "error", 0, True, True),
        (2, "success", 1, True, True),
        (2, "failure", 2, False, False),
    ],
)
def test_which_episodes_are_filmed_and_which_leave_a_video(mode, outcome, position, filmed, kept):
    assert needs_recording(mode, position) is filmed
    assert wants_video(mode, outcome, position) is kept


def test_a_film_gives_back_every_picture_although_the_camera_reuses_its_memory():
    pictures = np.random.default_rng(0).integers(0, 256, (5, 12, 17, 3), dtype=np.uint8)
    buffer, kept = np.empty((12, 17, 3), np.uint8), Film()
    for picture in pictures:
        buffer[:] = picture
        kept.add(buffer)
    assert len(kept) == 5
    for _ in range(2):
        np.testing.assert_array_equal(list(kept), pictures)


def test_a_film_of_a_scene_in_which_little_moves_is_small():
    kept = Film()
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for step in range(20):
        picture[100:150, 10 * step : 10 * step + 50] = step
        kept.add(picture)
    assert kept.size < 2.5 * picture.nbytes


def test_captions_leave_the_picture_alone_and_every_frame_has_one_even_size():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 481, 641, 3), dtype=np.uint8)
    frames = list(captioned(pictures, Caption("go", "train", 7, 2, "failure", "dropped"), HOLD_FRAMES))
    assert len(frames) == 3 + HOLD_FRAMES
    (shape,) = {frame.shape for frame in frames}
    assert shape[0] % 2 == shape[1] % 2 == 0
    for frame, picture in zip(frames, [*pictures, *[pictures[-1]] * HOLD_FRAMES], strict=True):
        np.testing.assert_array_equal(frame[:481, :641], picture)


def test_small_pictures_are_enlarged_by_whole_pixels():
    picture = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    frame = next(captioned([picture], Caption("go", "train", 7, 2, "success"), 1))
    np.testing.assert_array_equal(frame[:320:10, :480:10], picture)
    np.testing.assert_array_equal(frame[9:320:10, 9:480:10], picture)


@pytest.mark.parametrize("outcome", OUTCOME_COLOURS)
def test_the_end_is_in_the_outcomes_colour(outcome):
    frames = list(
        captioned(np.zeros((2, 480, 640, 3), np.uint8), Caption("go", "train", 7, 1, outcome, "why"), HOLD_FRAMES)
    )
    colour = tuple(bytes.fromhex(OUTCOME_COLOURS[outcome][1:]))
    assert [tuple(frame[-2, 2]) == colour for frame in frames] == [False, False] + [True] * HOLD_FRAMES


def test_the_strip_changes_with_every_step():
    frames = [
        frame.tobytes() for frame in captioned(np.zeros((6, 480, 640, 3), np.uint8), Caption("", "a", 0, 5, "error"), 1)
    ]
    assert len(set(frames)) == 7


def test_a_film_without_pictures_has_no_frames():
    assert list(captioned([], Caption("go", "train", 7, 2, "error"), 1)) == []


@pytest.mark.parametrize(
    "text",
    [
        "Arrange for the strawberry-flavoured toothpaste to be resting on the receptacle with the thin blue rim",
        "Déplace la tasse “bleue” – s’il te plaît – vers l’assiette, пожалуйста, παρακαλώ, por favor, señorita",
        "word" * 30,
        "short",
        "",
    ],
)
def test_text_wraps_within_its_width_and_loses_nothing(text):
    lines = wrap(text, font(20), 400)
    assert all(font(20).getlength(line) <= 400 for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_endless_text_ends_in_an_ellipsis():
    lines = wrap("and so on " * 100, font(20), 400)
    assert len(lines) == 5
    assert lines[-1].endswith("…")
    assert font(20).getlength(lines[-1]) <= 400
    assert shorten("short", font(20), 400) == "short"


def test_every_letter_of_the_instructions_has_a_picture():
    absent = font(20).getmask("\U0010fffd").getbbox(), bytes(font(20).getmask("\U0010fffd"))
    for letter in "abcXYZ“”’é–·ñΩж…":
        mask = font(20).getmask(letter)
        assert (mask.getbbox(), bytes(mask)) != absent, letter


def test_a_video_is_h264_in_real_time_with_every_frame(tmp_path):
    recorder = Recorder("all", tmp_path)
    film(recorder)
    for place, episode in enumerate(EPISODES):
        assert recorder.save(record(episode)) is None
        facts, frames = read(tmp_path / "train" / f"{episode.index}_failure.mp4")
        assert (facts["codec"], facts["pix_fmt"][:7], facts["fps"]) == ("h264", "yuv420p", CONTROL_FREQUENCY)
        expected = [50 * step + place for step in range(HORIZON + 1)] + [50 * HORIZON + place] * HOLD_FRAMES
        # Lossy: a grey level or so.
        np.testing.assert_allclose([frame[:480].mean() for frame in frames], expected, atol=2.5)
    assert len(names(tmp_path)) == 3


def test_what_is_written_below_the_pictures(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        video, "captioned", lambda pictures, caption, hold: said.append(caption) or captioned(pictures, caption, hold)
    )
    recorder = Recorder("all", tmp_path)
    film(recorder)
    recorder.save(record(EPISODES[0], failure="placed-then-lost"))
    recorder.save(record(EPISODES[1], "error", error="Traceback:\n  line\nValueError: bad\n"))
    text = "Move it so it’s there"
    assert said == [
        Caption(text, "train", EPISODES[0].index, HORIZON, "failure", "placed then lost"),
        Caption(text, "train", EPISODES[1].index, HORIZON, "error", "ValueError: bad"),
    ]


def test_a_task_of_another_control_rate_is_shown_in_real_time_too(tmp_path, monkeypatch):
    monkeypatch.setattr(Camera, "control_frequency", 20, raising=False)
    recorder = Recorder("all", tmp_path)
    film(recorder, EPISODES[:1])
    recorder.save(record(EPISODES[0]))
    facts, frames = read(tmp_path / "train" / f"{EPISODES[0].index}_failure.mp4")
    assert facts["fps"] == 20
    assert len(frames) == HORIZON + 1 + 40


def test_only_wanted_episodes_leave_videos(tmp_path):
    recorder = Recorder("failures", tmp_path)
    film(recorder)
    for episode, outcome in zip(EPISODES, ("success", "failure", "error"), strict=True):
        recorder.save(record(episode, outcome, error="trouble" if outcome == "error" else None))
    assert names(tmp_path) == sorted([f"train/{EPISODES[1].index}_failure.mp4", f"train/{EPISODES[2].index}_error.mp4"])


def test_a_number_films_the_first_of_the_evaluation_order_whoever_ends_first(tmp_path):
    recorder = Recorder(2, tmp_path, {(e.variant, e.index): place for place, e in enumerate(EPISODES[:2])})
    film(recorder, EPISODES[::-1])
    for episode in EPISODES[::-1]:
        recorder.save(record(episode, "success"))
    assert names(tmp_path) == sorted(f"train/{episode.index}_success.mp4" for episode in EPISODES[:2])


def test_nothing_stands_between_a_simulator_and_its_player_where_no_video_is_wanted(tmp_path):
    camera = Camera()
    recorder = Recorder("none", tmp_path)
    assert recorder.wrap(camera) is camera
    assert recorder.save(record(EPISODES[0])) is None
    assert not names(tmp_path)


def test_a_filmed_simulator_is_otherwise_the_same():
    camera = Camera()
    filmed = Recorder("all", None).wrap(camera)
    assert (filmed.horizon, filmed.capacity) == (HORIZON, 8)
    assert filmed.start(EPISODES).instruction == ("Move it so it’s there",) * 3
    assert filmed.step(np.zeros((3, 7), np.float32)).observation.step == 1
    filmed.close()
    assert camera.closed


@pytest.mark.parametrize(("mode", "left"), [("all", "success"), ("failures", None)])
def test_a_retried_episode_leaves_no_video_of_the_first_try(tmp_path, mode, left):
    recorder = Recorder(mode, tmp_path)
    (episode,) = EPISODES[:1]
    film(recorder, [episode])
    recorder.save(record(episode, "error", error="trouble"))
    assert names(tmp_path) == [f"train/{episode.index}_error.mp4"]
    film(recorder, [episode])
    recorder.save(record(episode, "success"))
    assert names(tmp_path) == ([f"train/{episode.index}_{left}.mp4"] if left else [])


def test_a_second_try_replaces_the_first_film_and_films_outlive_their_simulator(tmp_path):
    recorder = Recorder("all", tmp_path)
    film(recorder)
    shorter = recorder.wrap(Camera())
    shorter.start(EPISODES[:1])
    for episode in EPISODES[:2]:
        recorder.save(record(episode))
    lengths = [len(read(tmp_path / "train" / f"{e.index}_failure.mp4")[1]) for e in EPISODES[:2]]
    assert lengths == [1 + HOLD_FRAMES, HORIZON + 1 + HOLD_FRAMES]


def test_a_try_that_cannot_even_start_leaves_nothing_of_the_one_before(tmp_path, monkeypatch):
    recorder = Recorder("all", tmp_path)
    film(recorder)
    simulator = recorder.wrap(Camera())
    monkeypatch.delattr(Camera, "start")
    with pytest.raises(AttributeError):
        simulator.start(EPISODES)
    assert "no pictures" in recorder.save(record(EPISODES[0], "error", error="trouble"))
    assert not names(tmp_path)


def test_an_episode_whose_worker_died_has_no_film_and_no_warning(tmp_path):
    assert Recorder("all", tmp_path).save(record(EPISODES[0], "error", error="killed")) is None


def test_a_simulator_without_pictures_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Camera, "shows", False)
    recorder = Recorder("all", tmp_path)
    film(recorder)
    assert "the simulator shows no pictures" in recorder.save(record(EPISODES[0]))


def test_without_ffmpeg_there_is_a_warning_that_says_what_to_install(tmp_path, monkeypatch):
    recorder = Recorder("all", tmp_path)
    film(recorder)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    warning = recorder.save(record(EPISODES[0]))
    assert warning.startswith(f"no video of train {EPISODES[0].index}: videos need ffmpeg")
    assert "pip install imageio-ffmpeg" in warning
    assert not names(tmp_path)


@pytest.mark.parametrize("script", ["echo disk full >&2; exit 1", "cat >/dev/null; echo disk full >&2; exit 1"])
def test_a_failing_encoder_is_a_warning_and_leaves_nothing(tmp_path, monkeypatch, script):
    encoder = tmp_path / "ffmpeg"
    encoder.write_text(f"#!/bin/sh\n{script}\n")
    encoder.chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(encoder))
    recorder = Recorder("all", tmp_path / "videos")
    film(recorder)
    assert recorder.save(record(EPISODES[0])) == f"no video of train {EPISODES[0].index}: ffmpeg: disk full"
    assert not names(tmp_path / "videos")


def test_what_a_killed_process_left_unfinished_is_cleared_away(tmp_path):
    unfinished = tmp_path / "train" / f".{EPISODES[0].index}_error.mp4"
    unfinished.parent.mkdir()
    unfinished.write_bytes(b"half a video")
    recorder = Recorder("all", tmp_path)
    film(recorder)
    recorder.save(record(EPISODES[0]))
    assert names(tmp_path) == [f"train/{EPISODES[0].index}_failure.mp4"]


def test_rows_of_any_name_make_one_folder_each(tmp_path):
    path = video.video_path(tmp_path, "vision/table+execution/moved-midway@0.5~control", 3, "success")
    assert path == tmp_path / "vision-table+execution-moved-midway@0.5~control" / "3_success.mp4"


def test_choosing_videos_imports_neither_ffmpeg_nor_matplotlib():
    code = (
        "import sys; from vlagen.benchmark.watching import video\n"
        "print(*{'imageio_ffmpeg', 'matplotlib'} & sys.modules.keys())"
    )
    assert not subprocess.check_output([sys.executable, "-c", code], text=True).split()


def played(out):
    return sorted(str(path.relative_to(out / "videos")) for path in (out / "videos").rglob("*.mp4"))


def test_failures_and_errors_leave_videos_and_successes_do_not(tmp_path):
    evaluation = toys.evaluate(tmp_path, toys.NanPolicy, rows=("vision/table",), video="failures")
    odd = [record.index for record in evaluation.records if record.index % 2]
    assert played(tmp_path) == sorted(f"vision-table/{index}_error.mp4" for index in odd)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_episodes_leave_videos_on_request_from_any_worker(tmp_path, workers):
    evaluation = toys.evaluate(
        tmp_path, toys.FastPolicy, rows=("train",), episodes=3, video="2", workers=workers, backend="replicas"
    )
    assert played(tmp_path) == sorted(f"train/{record.index}_failure.mp4" for record in evaluation.records[:2])


def test_filming_does_not_change_records(tmp_path):
    toys.evaluate(tmp_path / "filmed", rows=("train",), episodes=2, video="all")
    toys.evaluate(tmp_path / "not", rows=("train",), episodes=2)
    assert toys.timeless_lines(tmp_path / "filmed") == toys.timeless_lines(tmp_path / "not")
