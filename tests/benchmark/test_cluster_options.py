"""What ``--address`` and ``--ray-args`` may say, checked without Ray."""

from __future__ import annotations

import pytest

from vlagen.benchmark.backends.cluster_options import BadClusterOption, ClusterOptions
from vlagen.benchmark.request import BadRequest, Request


def request(*pairs, address=None, backend="ray"):
    return Request(policy="noop", backend=backend, address=address, ray_args=pairs)


def test_options_are_read_by_their_kind():
    options = request("num_gpus=0.25", "simulators=4", "copy_folder=true", "policy_nodes=1", address="auto").cluster
    assert options == ClusterOptions(address="auto", num_gpus=0.25, simulators=4, copy_folder=True, policy_nodes="1")


@pytest.mark.parametrize(
    ("pair", "complaint"),
    [
        ("num_gpu=1", "unknown --ray-args 'num_gpu'; did you mean 'num_gpus'"),
        ("address=auto", "unknown --ray-args 'address'"),
        ("simulators=1.5", "simulators=1.5; allowed: a whole number from 0 on"),
        ("num_cpus=-1", "num_cpus=-1; allowed: a number from 0 on"),
        ("num_cpus=many", "num_cpus=many; allowed: a number"),
        ("num_cpus=true", "num_cpus=True; allowed: a number"),
        ("copy_folder=1", "copy_folder=1; allowed: true or false"),
    ],
)
def test_bad_options_say_what_is_allowed(pair, complaint):
    with pytest.raises(BadClusterOption, match=complaint):
        request(pair).check()


def test_options_of_clusters_belong_to_the_backend_ray():
    request("num_gpus=1").check()
    for asked in (request("num_gpus=1", backend="replicas"), request(address="auto", backend="auto")):
        with pytest.raises(BadRequest, match="--address and --ray-args are for --backend ray"):
            asked.check()
