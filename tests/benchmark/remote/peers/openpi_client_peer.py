"""openpi-client's own client; prints what a server tells it as JSON. Arguments: port, number of steps."""

import json
import sys

import numpy as np
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.websocket_client_policy import WebsocketClientPolicy

port, steps = int(sys.argv[1]), int(sys.argv[2])
client = WebsocketClientPolicy("127.0.0.1", port)
broker = ActionChunkBroker(client, action_horizon=2)
actions = []
for step in range(steps):
    seen = {
        "observation/image": np.full((224, 224, 3), step, dtype=np.uint8),
        "observation/state": np.arange(8, dtype=np.float32),
        "prompt": "go to 0",
    }
    actions.append(broker.infer(seen)["actions"].tolist())
try:
    client.infer({"observation/image": "no picture", "prompt": "go to 0"})
    complaint = None
except RuntimeError as error:
    complaint = str(error)
json.dump({"metadata": client.get_server_metadata(), "actions": actions, "complaint": complaint}, sys.stdout)
