"""Draw how a supervised training went: loss and distance of actions, in training and on held-out demonstrations.

python scripts/picture_of_training.py runs/sft --out docs/images/training.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

PANELS = {"loss": "loss [nat a token]", "action_l1": "distance of actions [half ranges]"}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder that vlagen-train sft has left")
    parser.add_argument("--smooth", type=int, default=100, help="updates that the curves of training are means over")
    parser.add_argument("--out", type=Path, default=Path("docs/images/training.png"))
    arguments = parser.parse_args()

    metrics = pd.read_json(arguments.run / "metrics.jsonl", lines=True).set_index("step")
    figure, axes = plt.subplots(1, len(PANELS), figsize=(9, 3.2), layout="constrained")
    for axis, (name, label) in zip(axes, PANELS.items(), strict=True):
        axis.plot(metrics[name].rolling(arguments.smooth, min_periods=1).mean(), label="training")
        axis.plot(metrics[f"held_out/{name}"].dropna(), marker=".", label="held-out demonstrations")
        axis.set(xlabel="updates", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out, dpi=110)


if __name__ == "__main__":
    main()
