"""Measures how often the scripted expert succeeds, row by row, without rendering anything.

python scripts/measure_expert.py --assets builtin --rows train execution/position --count 64
"""

from __future__ import annotations

import argparse
import json
from collections import Counter

from vlagen.assets.packs import load_pack
from vlagen.benchmark.actions.wrappers import prepare
from vlagen.benchmark.adapters.expert import ExpertPolicy
from vlagen.benchmark.backends.put_on_plate import ManiSkillSimulator
from vlagen.benchmark.rollout import run_episodes
from vlagen.tasks.sampling import evaluation_episodes
from vlagen.tasks.variants import ROW_IDS, variant


def main() -> None:
    """Plays the first episodes of each row and prints one line of JSON a row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", default="builtin")
    parser.add_argument("--rows", nargs="+", default=list(ROW_IDS), metavar="ROW")
    parser.add_argument("--count", type=int, default=64, help="episodes of each row but train")
    parser.add_argument("--train-count", type=int, default=192)
    arguments = parser.parse_args()
    objects = load_pack(arguments.assets).objects
    simulator = ManiSkillSimulator(arguments.assets, "none", privileged=True)
    policy = ExpertPolicy()
    prepared = prepare(policy, name="expert")
    for row in arguments.rows:
        count = arguments.train_count if row == "train" else arguments.count
        failures, tried, first = [], Counter(), []
        for episode in evaluation_episodes(variant(row), count):
            (record,) = run_episodes(simulator, prepared, [episode], assets=arguments.assets, seed=0)
            name, reached = objects[episode.object].name, record.first_success_step
            tried[name] += 1
            if record.success_at_end:
                first.append(reached)
            else:
                failures.append([name, episode.index, policy.workers[0].phase.name, record.grasped, reached])
        by_object = Counter(name for name, *_ in failures)
        report = {
            "assets": arguments.assets,
            "row": row,
            "n": count,
            "successes": count - len(failures),
            "rate": round(1 - len(failures) / count, 4),
            "median_first_success": sorted(first)[len(first) // 2] if first else None,
            "failed_by_object": {name: f"{lost}/{tried[name]}" for name, lost in by_object.most_common()},
            "failures": failures,
        }
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
