"""The strip below an episode's pictures that says what is going on in them."""

from __future__ import annotations

import functools
import importlib.util
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

HOLD_SECONDS = 2
"""How long the last picture stays above the outcome."""

# Okabe and Ito's green, vermilion and purple, dark enough for white text.
OUTCOME_COLOURS = {"success": "#00724f", "failure": "#b04a00", "error": "#8a4a72"}

_BACKGROUND, _TRACK, _BRIGHT, _PALE = "#15171c", "#3a3f4b", "#ffffff", "#b9bfca"
_NARROWEST = 480  # px; narrower pictures are enlarged, as text of a readable size would not fit below them
_MARGIN, _GAP = 12, 5
_SMALL, _LARGE = 15, 20
_MOST_LINES = 5


@dataclass(frozen=True)
class Caption:
    """What there is to say about an episode.

    Attributes:
        horizon: control steps that the episode was to take.
        outcome: ``"success"``, ``"failure"`` or ``"error"``.
        detail: in which way it failed, or what the error was; may be empty.
    """

    instruction: str
    row: str
    index: int
    horizon: int
    outcome: str
    detail: str = ""


def captioned(pictures: Iterable[np.ndarray], caption: Caption, hold: int) -> Iterator[np.ndarray]:
    """Puts a strip below each picture and repeats the last one above the outcome.

    Args:
        pictures: (H, W, 3) uint8 all of one size, the first from before the first control step.
        caption: what the strip says.
        hold: how often the last picture is repeated.

    Returns:
        The frames (H', W', 3) uint8, all of one size with even H' and W'. Nothing is drawn over a picture.
    """
    pictures = iter(pictures)
    first = next(pictures, None)
    if first is None:
        return
    enlargement = -(-_NARROWEST // first.shape[1])
    strip = _Strip(caption, first.shape[1] * enlargement, first.shape[0] * enlargement)
    for step, picture in enumerate(itertools.chain([first], pictures)):
        yield _stack(picture, enlargement, strip.playing(step))
    ending = _stack(picture, enlargement, strip.ended(step))
    yield from itertools.repeat(ending, hold)


def _stack(picture: np.ndarray, enlargement: int, strip: Image.Image) -> np.ndarray:
    height, width = picture.shape[0] * enlargement, picture.shape[1] * enlargement
    frame = np.empty((height + strip.height, strip.width, 3), dtype=np.uint8)
    enlarged = picture if enlargement == 1 else picture.repeat(enlargement, axis=0).repeat(enlargement, axis=1)
    frame[:height, :width] = enlarged
    frame[:height, width:] = 0
    frame[height:] = np.asarray(strip)
    return frame


class _Strip:
    """Draws the strip: what stays is drawn once, what changes for each step.

    Args:
        caption: what it says.
        picture_width: of the picture above [px].
        picture_height: of the picture above [px].
    """

    def __init__(self, caption: Caption, picture_width: int, picture_height: int) -> None:
        self._caption = caption
        self._width = picture_width + picture_width % 2
        room = self._width - 2 * _MARGIN
        self._instruction = wrap(caption.instruction, font(_LARGE), room)
        # Two columns where they fit beside each other; a long composed row has a line to itself.
        name = f"{caption.row}  ·  episode {caption.index}"
        longest_step = self._step_text(caption.horizon)
        beside = font(_SMALL).getlength(name) + font(_SMALL).getlength(longest_step) + 2 * _MARGIN <= room
        self._name = wrap(name, font(_SMALL), room)
        self._top = _MARGIN + _line(_SMALL) * (len(self._name) + (not beside)) + _GAP
        self._bottom = self._top + _line(_LARGE) * len(self._instruction) + _GAP
        height = self._bottom + _line(_LARGE) + _GAP
        self._height = height + (picture_height + height) % 2
        self._playing = self._draw(_BACKGROUND, _PALE)

    def playing(self, step: int) -> Image.Image:
        """Returns the strip after ``step`` control steps: a bar shows how far the episode is."""
        strip = self._playing.copy()
        draw = ImageDraw.Draw(strip)
        self._draw_step(draw, step, _PALE)
        middle = self._bottom + _line(_LARGE) // 2
        left, right = _MARGIN, self._width - _MARGIN - 1
        draw.rounded_rectangle((left, middle - 3, right, middle + 3), radius=3, fill=_TRACK)
        end = left + (right - left) * min(step / max(self._caption.horizon, 1), 1)
        if end - left >= 7:
            colour = OUTCOME_COLOURS[self._caption.outcome]
            draw.rounded_rectangle((left, middle - 3, end, middle + 3), radius=3, fill=colour)
        return strip

    def ended(self, step: int) -> Image.Image:
        """Returns the strip in the outcome's colour, with the outcome in words."""
        caption = self._caption
        strip = self._draw(OUTCOME_COLOURS[caption.outcome], _BRIGHT)
        draw = ImageDraw.Draw(strip)
        self._draw_step(draw, step, _BRIGHT)
        text = f"{caption.outcome}: {caption.detail}" if caption.detail else caption.outcome
        bold = font(_LARGE, bold=True)
        draw.text((_MARGIN, self._bottom), shorten(text, bold, self._width - 2 * _MARGIN), fill=_BRIGHT, font=bold)
        return strip

    def _draw(self, background: str, pale: str) -> Image.Image:
        strip = Image.new("RGB", (self._width, self._height), background)
        draw = ImageDraw.Draw(strip)
        for number, line in enumerate(self._name):
            draw.text((_MARGIN, _MARGIN + _line(_SMALL) * number), line, fill=pale, font=font(_SMALL))
        for number, line in enumerate(self._instruction):
            draw.text((_MARGIN, self._top + _line(_LARGE) * number), line, fill=_BRIGHT, font=font(_LARGE))
        return strip

    def _draw_step(self, draw: ImageDraw.ImageDraw, step: int, colour: str) -> None:
        text = self._step_text(step)
        left = self._width - _MARGIN - font(_SMALL).getlength(text)
        draw.text((left, self._top - _GAP - _line(_SMALL)), text, fill=colour, font=font(_SMALL))

    def _step_text(self, step: int) -> str:
        return f"step {step}/{self._caption.horizon}"


def _line(size: int) -> int:
    """The distance from one line of text to the next [px]."""
    return round(1.3 * size)


def wrap(text: str, in_font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Breaks text into lines of at most ``width`` pixels, at spaces or, in longer words, anywhere.

    Returns:
        At least one and at most ``_MOST_LINES`` lines; the last ends in an ellipsis if that was not enough.
    """
    lines = [""]
    for word in text.split():
        if in_font.getlength(f"{lines[-1]} {word}".strip()) <= width:
            lines[-1] = f"{lines[-1]} {word}".strip()
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if in_font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    if len(lines) > _MOST_LINES:
        lines = [*lines[: _MOST_LINES - 1], shorten(" ".join(lines[_MOST_LINES - 1 :]), in_font, width)]
    return lines


def shorten(text: str, in_font: ImageFont.FreeTypeFont, width: float) -> str:
    """Cuts text to ``width`` pixels and ends it in an ellipsis, if it is longer than that."""
    if in_font.getlength(text) <= width:
        return text
    while text and in_font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


@functools.cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Returns the font that matplotlib brings along, as Pillow's own lacks every letter beyond plain English.

    Args:
        size: height of a line [px].
        bold: the bold cut.
    """
    package = importlib.util.find_spec("matplotlib")  # found, not imported: that takes a quarter of a second
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder) / "mpl-data" / "fonts" / "ttf" / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
        if path.is_file():
            return ImageFont.truetype(path, size)
    return ImageFont.load_default(size)
