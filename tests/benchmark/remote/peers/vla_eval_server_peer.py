"""A model server on vla-eval's own framework, with its own batching and its own chunks; prints its port.

Its actions say what it was shown: the first number is the picture's mean in thousandths, the second the state's sum,
and the third counts the steps of the episode.
"""

import sys

import anyio
import numpy as np
from vla_eval.model_servers.predict import PredictModelServer
from vla_eval.model_servers.serve import serve_async
from vla_eval.specs import GRIPPER_CLOSE_POS, IMAGE_RGB, LANGUAGE, POSITION_DELTA, ROTATION_QUAT, STATE_JOINT


class Server(PredictModelServer):
    def __init__(self):
        super().__init__(chunk_size=2, max_batch_size=4)

    def get_action_spec(self):
        return {"position": POSITION_DELTA, "rotation": ROTATION_QUAT, "gripper": GRIPPER_CLOSE_POS}

    def get_observation_spec(self):
        return {"image": IMAGE_RGB, "language": LANGUAGE, "state": STATE_JOINT}

    def predict_batch(self, obs_batch, ctx_batch):
        results = []
        for seen, context in zip(obs_batch, ctx_batch, strict=True):
            if "raise" in seen["task_description"]:
                raise ZeroDivisionError("toy trouble")
            chunk = np.zeros((2, 8), dtype=np.float32)
            chunk[:, 0] = 1e-3 * seen["images"]["image"].mean() / 255
            chunk[:, 1] = 1e-3 * seen["states"].sum()
            chunk[:, 2] = 1e-3 * context.step
            chunk[:, 6], chunk[:, 7] = 1, 1
            results.append({"actions": chunk})
        return results


async def main():
    async with anyio.create_task_group() as group:
        port = await group.start(serve_async, Server(), "127.0.0.1", 0)
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()


anyio.run(main)
