"""Somebody else's openpi server: it declares nothing, wants 224x224 pictures and holds still, Bridge's gripper open.

``python tests/docs_openpi_server.py PORT``
"""

from __future__ import annotations

import sys
from http import HTTPStatus

import numpy as np
from websockets.sync.server import ServerConnection, serve

from vlagen.benchmark.remote import openpi_codec


def answer(connection: ServerConnection) -> None:
    connection.send(openpi_codec.pack({}))
    for data in connection:
        assert openpi_codec.decode(data)["observation/image"].shape == (224, 224, 3)
        connection.send(openpi_codec.pack({"actions": np.array([[0.0] * 6 + [1.0]] * 8)}))


def health(connection: ServerConnection, request):
    return connection.respond(HTTPStatus.OK, "OK\n") if request.path == "/health" else None


if __name__ == "__main__":
    with serve(
        answer, "127.0.0.1", int(sys.argv[1]), process_request=health, compression=None, max_size=None
    ) as server:
        server.serve_forever()
