"""What the policy sees, on pictures small enough to check by eye, and against upstream's own synthetic pairs."""

from __future__ import annotations

import numpy as np
import pytest

from tests import golden

torch = pytest.importorskip("torch", reason="pictures are composited in torch (extra `sim`)")

from vlagen.tasks.compositing import (  # noqa: E402
    Box,
    Patch,
    composite,
    foreground_box,
    over_table,
    with_foreground_texture,
    with_noise,
)

# A picture of 4 rows and 6 columns; the foreground (#) is an L in rows 1 to 2 and columns 2 to 4.
MASK = ("......", "..#...", "..###.", "......")
BOX = Box(x0=2, y0=1, x1=4, y1=2)


def mask_of(rows):
    return torch.tensor([[pixel == "#" for pixel in row] for row in rows])


def grey(values):
    """Numbers (H, W) as a grey picture (H, W, 3)."""
    return torch.tensor(values, dtype=torch.uint8)[..., None].repeat(1, 1, 3)


def plain(level, height=4, width=6):
    return torch.full((height, width, 3), level, dtype=torch.uint8)


def patch_of(level=200, rows=MASK, x=0, y=0):
    mask = mask_of(rows)
    return Patch(plain(level, *mask.shape), mask, x, y)


def seen(picture):
    """A grey picture as numbers."""
    assert picture.dtype == torch.uint8
    assert (picture == picture[..., :1]).all()
    return picture[..., 0].tolist()


def test_the_foreground_hides_the_table():
    assert seen(over_table(patch_of(200), plain(10))) == [
        [10, 10, 10, 10, 10, 10],
        [10, 10, 200, 10, 10, 10],
        [10, 10, 200, 200, 200, 10],
        [10, 10, 10, 10, 10, 10],
    ]


def test_colours_are_taken_whole():
    table, rgb = torch.tensor([1, 2, 3], dtype=torch.uint8), torch.tensor([4, 5, 6], dtype=torch.uint8)
    patch = Patch(rgb.expand(1, 2, 3), torch.tensor([[True, False]]), 0, 0)
    assert over_table(patch, table.expand(1, 2, 3)).tolist() == [[[4, 5, 6], [1, 2, 3]]]


def test_the_box_is_the_foregrounds():
    assert foreground_box(patch_of()) == BOX
    assert BOX.size == (2, 3)
    assert foreground_box(patch_of(rows=("#.", ".."), x=3, y=5)) == Box(3, 5, 3, 5)
    assert foreground_box(patch_of(rows=("..", ".."), x=3, y=5)) == Box(0, 0, 0, 0)


def test_a_texture_is_blended_on_the_foreground_only_and_truncated():
    # 0.5 * 103 + 0.5 * 200 = 151.5 is cut to 151; inside the box the table stays 10.
    assert seen(with_foreground_texture(patch_of(200), plain(10), plain(103), 0.5)) == [
        [10, 10, 10, 10, 10, 10],
        [10, 10, 151, 10, 10, 10],
        [10, 10, 151, 151, 151, 10],
        [10, 10, 10, 10, 10, 10],
    ]


def test_the_weight_is_the_textures():
    # 0.25 * 100 + 0.75 * 200 = 175
    assert with_foreground_texture(patch_of(200), plain(10), plain(100), 0.25)[1, 2, 0] == 175


def test_a_texture_is_stretched_over_the_box_between_pixel_centres():
    # Two pixels over four: centres at -0.25, 0.25, 0.75 and 1.25 of the way from the first to the second.
    patch = patch_of(rows=(".####.",))
    assert seen(with_foreground_texture(patch, plain(10, 1), grey([[0, 100]]), 1.0)) == [[10, 0, 25, 75, 100, 10]]


def test_a_texture_stretched_for_a_larger_box_is_laid_from_its_corner():
    patch = patch_of(rows=("..##..",))
    found = with_foreground_texture(patch, plain(10, 1), grey([[0, 100]]), 1.0, size=(1, 4))
    assert seen(found) == [[10, 10, 0, 25, 10, 10]]


def test_a_texture_moves_with_the_foreground():
    texture = grey([[0, 100]])
    for x in range(3):
        found = with_foreground_texture(patch_of(rows=("####",), x=x), plain(10, 1), texture, 1.0)
        assert seen(found)[0][x : x + 4] == [0, 25, 75, 100]


# The noise picture, twice as high and wide: row 3, column 11 reads 41.
NOISE = [[10 * row + column for column in range(12)] for row in range(8)]


def test_noise_is_the_window_at_the_foregrounds_centre():
    # The box's centre is column (2 + 4) // 2 = 3 and row (1 + 2) // 2 = 1.
    assert seen(with_noise(patch_of(), plain(10), grey(NOISE), 1.0)) == [
        [13, 14, 15, 16, 17, 18],
        [23, 24, 25, 26, 27, 28],
        [33, 34, 35, 36, 37, 38],
        [43, 44, 45, 46, 47, 48],
    ]


def test_noise_covers_foreground_and_table():
    found = seen(with_noise(patch_of(200), plain(10), plain(101, 8, 12), 0.5))
    # 0.5 * 101 + 0.5 * 10 = 55.5 and 0.5 * 101 + 0.5 * 200 = 150.5, cut
    assert found == [
        [55, 55, 55, 55, 55, 55],
        [55, 55, 150, 55, 55, 55],
        [55, 55, 150, 150, 150, 55],
        [55, 55, 55, 55, 55, 55],
    ]


@pytest.mark.parametrize(
    ("rows", "corner"),
    [
        (("#.....", "......", "......", "......"), (1, 1)),  # the centre (0, 0) is clipped from below
        (("......", "......", "......", ".....#"), (3, 5)),
        (("......", "......", ".#....", "......"), (2, 1)),
        (("#.....", "......", "......", ".....#"), (1, 2)),
        (("......", "......", "......", "......"), (1, 1)),  # no foreground counts as a box at (0, 0)
    ],
)
def test_the_noise_window_stays_inside_its_picture(rows, corner):
    found = seen(with_noise(patch_of(rows=rows), plain(10), grey(NOISE), 1.0))
    row, column = corner
    assert found[0][0] == 10 * row + column
    assert found[3][5] == 10 * (row + 3) + column + 5


def test_a_disturbance_of_no_weight_changes_nothing():
    patch, table, texture = patch_of(), plain(10), plain(99, 8, 12)
    undisturbed = seen(over_table(patch, table))
    for overlay in (None, "foreground", "whole"):
        assert seen(composite(patch, table, overlay, texture, 0.0)) == undisturbed
    assert seen(with_foreground_texture(patch, table, texture, 0.0)) == undisturbed
    assert seen(with_noise(patch, table, texture, 0.0)) == undisturbed
    assert seen(composite(patch, table, None, None, 0.0)) == undisturbed


def test_the_kind_of_overlay_chooses_the_blend():
    patch, table, texture = patch_of(200), plain(10), plain(101, 8, 12)
    assert seen(composite(patch, table, "foreground", texture, 0.5))[0][0] == 10
    assert seen(composite(patch, table, "whole", texture, 0.5))[0][0] == 55


def test_without_foreground_only_noise_changes_the_table():
    patch = patch_of(rows=4 * ("......",))
    assert seen(composite(patch, plain(10), None, None, 0.0)) == seen(plain(10))
    assert seen(composite(patch, plain(10), "foreground", plain(101), 0.5)) == seen(plain(10))
    assert seen(composite(patch, plain(10), "whole", plain(101, 8, 12), 0.5)) == seen(plain(55))


def random_picture(generator, height, width):
    return torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("overlay", [None, "foreground", "whole"])
def test_a_window_with_all_foreground_gives_the_whole_pictures_result(overlay):
    generator = torch.Generator().manual_seed(0)
    rgb, table = (random_picture(generator, 40, 60) for _ in range(2))
    texture = random_picture(generator, 80, 120)
    mask = torch.zeros(40, 60, dtype=torch.bool)
    mask[10:30, 20:50] = torch.rand((20, 30), generator=generator) > 0.5
    whole = composite(Patch(rgb, mask, 0, 0), table, overlay, texture, 0.3)
    rows, columns = slice(8, 33), slice(17, 57)
    window = Patch(rgb[rows, columns], mask[rows, columns], x=17, y=8)
    assert torch.equal(composite(window, table, overlay, texture, 0.3), whole)


@pytest.mark.parametrize("overlay", [None, "foreground", "whole"])
def test_inputs_stay_as_they_are_and_the_result_is_new(overlay):
    patch, table, texture = patch_of(), plain(10), plain(99, 8, 12)
    inputs = (patch.rgb, patch.mask, table, texture)
    before = [tensor.clone() for tensor in inputs]
    result = composite(patch, table, overlay, texture, 0.5)
    result.fill_(7)
    for tensor, old in zip(inputs, before, strict=True):
        assert torch.equal(tensor, old)


# Upstream's own pairs

OVERLAYS = {"plain": None, "texture": "foreground", "whole": "whole"}  # by the first word of the file's name
PAIRS = [
    pytest.param(path, marks=golden.needs_golden, id=path.stem)
    for path in sorted((golden.PROTOCOL / "compositing").glob("*.npz"))
]


@pytest.mark.parametrize("path", PAIRS)
def test_upstreams_pictures(path):
    with np.load(path) as arrays:
        pair = {key: arrays[key] for key in arrays}
    overlay = next(kind for word, kind in OVERLAYS.items() if path.stem.startswith(word))
    masks = torch.from_numpy(np.isin(pair["seg"][..., 0], pair["foreground_ids"]))
    patches = [Patch(torch.from_numpy(rgb), mask, 0, 0) for rgb, mask in zip(pair["rgb"], masks, strict=True)]
    sizes = [foreground_box(patch).size for patch in patches]
    largest = (max(height for height, _ in sizes), max(width for _, width in sizes))  # upstream's batches share it
    for i, patch in enumerate(patches):
        table, texture = torch.from_numpy(pair["overlay"][i]), torch.from_numpy(pair["texture"][i])
        alpha = float(pair["mix"][i] * pair["ratio"])
        if overlay == "foreground":
            ours = with_foreground_texture(patch, table, texture, alpha, size=largest)
        else:
            ours = composite(patch, table, overlay, texture, alpha)
        # All five public files are met exactly with torch 2.13 on x86; a fused multiply-add may move the truncation.
        assert np.abs(ours.numpy().astype(int) - pair["out"][i]).max() <= 1
