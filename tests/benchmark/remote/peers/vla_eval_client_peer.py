"""vla-eval's own client; prints what a server tells it as JSON. Arguments: port, number of steps."""

import json
import sys

import anyio
import numpy as np
from vla_eval.connection import Connection
from vla_eval.specs import GRIPPER_CLOSE_POS, ROTATION_AA, DimSpec


async def main():
    async with Connection(f"ws://127.0.0.1:{sys.argv[1]}") as connection:
        specs = {name: DimSpec.from_dict(spec) for name, spec in connection.server_info["action_spec"].items()}
        fits = specs["rotation"].is_compatible(ROTATION_AA)[0] and specs["gripper"].is_compatible(GRIPPER_CLOSE_POS)[0]
        await connection.start_episode({"task": {"name": "toy", "episode_idx": 3}})
        actions = []
        for step in range(int(sys.argv[2])):
            seen = {
                "images": {"primary": np.full((64, 48, 3), step, dtype=np.uint8)},
                "states": np.arange(8, dtype=np.float32),
                "task_description": "go to 0",
            }
            actions.append((await connection.act(seen))["actions"].tolist())
        try:
            await connection.act({"images": {}, "task_description": "go to 0"})
            complaint = None
        except RuntimeError as error:
            complaint = str(error)
        await connection.end_episode({"metrics": {"success": True}, "steps": 1, "elapsed_sec": 0.1})
        info = {key: connection.server_info[key] for key in ("model_server", "protocol_version")}
        json.dump({"info": info, "fits": fits, "actions": actions, "complaint": complaint}, sys.stdout)


anyio.run(main)
