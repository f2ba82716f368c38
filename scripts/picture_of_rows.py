"""Draw every row as the policy sees it: the picture at the top of the README.

python scripts/picture_of_rows.py --assets builtin --out docs/images/rows.jpg
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

import gymnasium
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import vlagen.tasks.registration  # noqa: F401 - importing it registers the environments
from vlagen.benchmark.report.charts import AXIS_COLOURS
from vlagen.tasks.sampling import evaluation_episodes
from vlagen.tasks.variants import variants

WAIT = np.array([[0, 0, 0, 0, 0, 0, 1]], dtype=np.float32)


def picture(env: gymnasium.Env, episode) -> tuple[np.ndarray, str]:
    """The first observation, or the first after the object was moved, and the instruction."""
    env.reset(options={"episodes": [episode], "reconfigure": True})
    for _ in range((episode.reposition_at_step or -1) + 1):
        env.step(WAIT)
    return env.unwrapped.observed_rgb()[0].numpy(), env.unwrapped.instructions[0]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", default="builtin")
    parser.add_argument("--protocol", default="vlagen-v1")
    parser.add_argument("--episode", type=int, default=0, help="position in each row's evaluation list")
    parser.add_argument("--out", type=Path, default=Path("docs/images/rows.jpg"))
    arguments = parser.parse_args()

    env = gymnasium.make("vlagen/train-v1", assets=arguments.assets, obs_mode="rgb", sim_backend="physx_cpu")
    figure, axes = plt.subplots(4, 4, figsize=(12, 10.4), layout="constrained")
    for row, axis in zip(variants(arguments.protocol), axes.flat, strict=True):
        image, instruction = picture(env, evaluation_episodes(row, arguments.episode + 1)[-1])
        axis.imshow(image)
        axis.set_title(row.id, color=AXIS_COLOURS[row.axis], fontsize=10.5, fontweight="bold")
        axis.set_xlabel("\n".join(textwrap.wrap(f"“{instruction}”", 42)), fontsize=8.5)
        axis.set(xticks=[], yticks=[])
    env.close()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out, dpi=100, pil_kwargs={"quality": 88})


if __name__ == "__main__":
    main()
