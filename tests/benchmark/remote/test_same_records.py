"""The same policy in this process and behind a server: identical records."""

from __future__ import annotations

import json

import pytest

from tests.benchmark import toys
from tests.benchmark.remote.serving import (
    BridgePolicy,
    ChunkPolicy,
    EpisodewisePolicy,
    WatchfulPolicy,
    make,
    play,
    running,
    served,
)
from vlagen.benchmark.records import read_records
from vlagen.benchmark.remote.link import PROTOCOLS


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("policy", [toys.SeededPolicy, WatchfulPolicy, EpisodewisePolicy, ChunkPolicy, BridgePolicy])
def test_records_are_identical(tmp_path, protocol, policy):
    here = play(policy, tmp_path / "here")
    with served(policy, protocol) as address:
        assert play(address, tmp_path / "there") == here
    assert len(here) == 8


@pytest.mark.parametrize(
    ("protocol", "policy"),
    [("openpi", WatchfulPolicy), ("vla-eval", EpisodewisePolicy), ("roboarena", WatchfulPolicy)],
)
def test_records_of_sessions_in_step_are_identical(tmp_path, protocol, policy):
    pytest.importorskip("gymnasium")
    here = play(policy, tmp_path / "here")
    with served(policy, protocol) as address:
        assert play(address, tmp_path / "there", workers=3, backend="batched") == here


def test_workers_with_sessions_of_their_own_share_one_policy(tmp_path):
    here = play(EpisodewisePolicy, tmp_path / "here")
    server = make(EpisodewisePolicy)
    with running(server) as port:
        # Nothing says how many workers there are: the server says that its sessions may go their own ways.
        assert play(f"openpi://127.0.0.1:{port}", tmp_path / "there", workers=2) == here


def test_chunks_are_executed_by_the_client(tmp_path):
    here = play(ChunkPolicy, tmp_path / "here", execute_horizon=2)
    with served(ChunkPolicy, "vla-eval") as address:
        assert play(address, tmp_path / "there", execute_horizon=2) == here
    assert here != play(ChunkPolicy, tmp_path / "whole")


def test_what_is_wrong_with_an_action_costs_the_same_episodes(tmp_path):
    pytest.importorskip("gymnasium")
    play(toys.NanPolicy, tmp_path / "here")
    with served(toys.NanPolicy) as address:
        play(address, tmp_path / "there", workers=3, backend="batched")
    here, there = (read_records(tmp_path / name / "episodes.jsonl")[0] for name in ("here", "there"))
    assert [record.outcome for record in here] == [record.outcome for record in there]
    assert "error" in {record.outcome for record in here}


def test_a_run_goes_on_at_another_port_but_not_with_another_policy(tmp_path):
    with served(toys.SlowPolicy) as address:
        play(address, tmp_path, episodes=2)
    with served(toys.SlowPolicy) as other:
        assert other != address
        assert len(play(other, tmp_path)) == 8
    known = json.loads((tmp_path / "run.json").read_text())["identity"]["policy"]
    assert known["name"] == "openpi"
    assert known["server"]["name"].endswith("SlowPolicy")
    with served(toys.FastPolicy) as address, pytest.raises(Exception, match="policy"):
        play(address, tmp_path)
