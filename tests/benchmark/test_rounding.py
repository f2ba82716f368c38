"""Numbers are rounded as on paper, and the same everywhere."""

import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest

from vlagen.benchmark.report import tables
from vlagen.benchmark.rounding import rounded
from vlagen.leaderboard import cells, verdict

DATA_SCRIPT = Path(cells.__file__).parent / "web" / "script" / "data.js"

SHOWN = [
    (13 / 16, "81.3"),
    (3 / 16, "18.8"),
    (9 / 32, "28.1"),
    (0.7625, "76.3"),
    (math.nextafter(0.7625, 0), "76.3"),
    (math.nextafter(0.7625, 1), "76.3"),
    (0.76249, "76.2"),
    (0.0005, "0.1"),
    (0.00049, "0.0"),
    (2 / 3, "66.7"),
    (0.0, "0.0"),
    (1.0, "100.0"),
]


@pytest.mark.parametrize(("fraction", "text"), SHOWN)
def test_rates_in_percent(fraction, text):
    assert cells.percent(fraction) == text
    assert tables._percent(fraction) == text
    assert verdict.points(fraction) == f"+{text}"
    assert verdict.points(-fraction) == ("+0.0" if text == "0.0" else f"−{text}")


def test_probabilities_at_a_tie():
    assert f"{rounded(1 / 16, 3)}" == "0.063"
    assert f"{rounded(1 / 8, 2)}" == "0.13"
    assert f"{rounded(3 / 8, 2)}" == "0.38"


def test_the_page_rounds_alike():
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here to run the page's script")
    fractions = [
        sign * number / size for size in (3, 16, 80, 128, 240) for number in range(size + 1) for sign in (1, -1)
    ]
    fractions += [sign * fraction for fraction, _ in SHOWN for sign in (1, -1)]
    script = (
        'const document = { getElementById: () => ({ textContent: \'{"entries":[],"axes":[],"rows":[]}\' }) };\n'
        f"{DATA_SCRIPT.read_text(encoding='utf-8')}\n"
        f"const given = {json.dumps(fractions)};\n"
        "console.log(JSON.stringify([given.map(percent), given.map(signed), given.map((one) => rounded(one, 3))]));"
    )
    ran = subprocess.run([node, "-"], input=script, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    percents, differences, thirds = json.loads(ran.stdout)
    assert percents == [cells.percent(fraction) for fraction in fractions]
    assert [text.removeprefix("+") for text in differences] == [cells.percent(fraction) for fraction in fractions]
    assert [text.replace("−", "-") for text in thirds] == [str(rounded(fraction, 3)) for fraction in fractions]
