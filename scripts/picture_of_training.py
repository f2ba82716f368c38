"""Draw how trainings went, whichever the method: what they log, over updates or environment steps.

python scripts/picture_of_training.py runs/sft --out docs/images/training.png
python scripts/picture_of_training.py runs/study/ppo/seed-0 runs/study/ppo/seed-1 --smooth 3
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

SUPERVISED = {"loss": "loss [nat a token]", "action_l1": "distance of actions [half ranges]"}
REINFORCED = {"success": "success of roll-outs [%]", "entropy": "entropy [nat a token]"}
SCALES = {"success": 100.0}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders that vlagen-train has left")
    parser.add_argument("--smooth", type=int, default=100, help="updates that the curves of training are means over")
    parser.add_argument("--out", type=Path, default=Path("docs/images/training.png"))
    arguments = parser.parse_args()

    metrics = [pd.read_json(run / "metrics.jsonl", lines=True).set_index("step") for run in arguments.runs]
    reinforced = all("success" in frame for frame in metrics)
    panels = REINFORCED if reinforced else SUPERVISED
    figure, axes = plt.subplots(1, len(panels), figsize=(9, 3.2), layout="constrained")
    for run, frame in zip(arguments.runs, metrics, strict=True):
        played = frame.set_index("environment_steps") if reinforced else frame
        name = "training" if len(metrics) == 1 else f"{run.parent.name} {run.name}"
        for axis, panel in zip(axes, panels, strict=True):
            if panel in played:  # DPO has no entropy
                mean = played[panel].dropna().rolling(arguments.smooth, min_periods=1).mean()
                axis.plot(mean * SCALES.get(panel, 1), label=name)
            if f"held_out/{panel}" in frame:
                axis.plot(frame[f"held_out/{panel}"].dropna(), marker=".", label="held-out demonstrations")
    for axis, label in zip(axes, panels.values(), strict=True):
        axis.set(xlabel="environment steps" if reinforced else "updates", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out, dpi=110)


if __name__ == "__main__":
    main()
