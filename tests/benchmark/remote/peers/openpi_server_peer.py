"""A server on openpi-client's own serialisation, as openpi's is; prints its port.

It answers what it was shown: a chunk of two actions whose first number counts the requests of the connection, the
second is the picture's mean in thousandths, the third the state's sum, and the last closes Bridge's gripper.
"""

import asyncio
import sys

import numpy as np
import websockets.asyncio.server
from openpi_client import msgpack_numpy


async def handle(connection):
    packer = msgpack_numpy.Packer()
    await connection.send(packer.pack({"config": "toy", "horizon": np.int64(2)}))
    count = 0
    async for data in connection:
        seen = msgpack_numpy.unpackb(data)
        picture, state = seen["observation/image"], seen["observation/state"]
        if "raise" in seen["prompt"]:
            await connection.send("Traceback: toy trouble")
            await connection.close(1011)
            return
        assert picture.shape == (224, 224, 3)
        assert picture.dtype == np.uint8
        assert set(seen) == {"observation/image", "observation/state", "prompt", "observation/wrist_image"}
        chunk = np.zeros((2, 7), dtype=np.float64)
        chunk[:, 0] = 1e-3 * count
        chunk[:, 1] = 1e-3 * picture.mean() / 255
        chunk[:, 2] = 1e-3 * state.sum()
        count += 1
        await connection.send(packer.pack({"actions": chunk, "server_timing": {"infer_ms": np.float32(1)}}))


async def main():
    async with websockets.asyncio.server.serve(handle, "127.0.0.1", 0, compression=None, max_size=None) as server:
        sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        await server.serve_forever()


asyncio.run(main())
