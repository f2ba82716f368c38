"""The same policy here and behind a server, in the real simulator: identical records."""

from __future__ import annotations

import pytest

from tests.benchmark import toys
from tests.benchmark.remote.serving import HERE, WatchfulPolicy
from vlagen.benchmark.evaluate import Evaluation
from vlagen.benchmark.loading.source import find_policy
from vlagen.benchmark.remote.server import Place, in_background
from vlagen.benchmark.remote.serving import Service, make_server
from vlagen.benchmark.request import Request

pytestmark = pytest.mark.sim


def play(policy, out):
    pytest.importorskip("mani_skill")
    with Evaluation(Request(policy=policy, rows=("train",), episodes=1, out=out)) as evaluation:
        (record,) = evaluation.play()
    return record, toys.timeless_lines(out)


def compare(policy, protocol, folder):
    here, lines = play(policy, folder / "here")
    with in_background(make_server(find_policy(policy), Service(protocol=protocol), Place(port=0))) as port:
        there, others = play(f"{protocol}://{HERE}:{port}", folder / "there")
    assert here.error is None
    assert lines == others
    return there


def test_the_expert_succeeds_from_afar(tmp_path):
    # It sees the simulator's state, which crosses the wire, too.
    assert compare("expert", "openpi", tmp_path).outcome == "success"


def test_a_policy_that_draws_from_its_seed(tmp_path):
    compare("random", "roboarena", tmp_path)


@pytest.mark.slow
def test_a_policy_that_looks_at_every_pixel(tmp_path):
    compare(f"{WatchfulPolicy.__module__}:{WatchfulPolicy.__name__}", "vla-eval", tmp_path)
