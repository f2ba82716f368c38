import json

import numpy as np
import pytest

from tests.golden import PROTOCOL
from vlagen.baselines.openvla.checkpoints import load_config
from vlagen.baselines.openvla.images import BadProcessor, ImageProcessor
from vlagen.baselines.openvla.normalization import UnknownStatistics
from vlagen.baselines.openvla.processing import Processing, declare_pipeline
from vlagen.baselines.openvla.tiny import BRIDGE_STATISTICS, make_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="module")
def processing(folder) -> Processing:
    return Processing.from_checkpoint(folder, load_config(folder))


def test_tokens_and_actions_go_round(processing):
    generator = np.random.default_rng(1)
    bridge = BRIDGE_STATISTICS["bridge_orig"]["action"]
    low, high = np.array(bridge["q01"]), np.array(bridge["q99"])
    actions = generator.uniform(low, high, (50, 7))
    again = processing.actions(processing.action_ids(actions))
    np.testing.assert_allclose(again[:, :6], actions[:, :6], atol=(high - low).max() / 2 / 255)
    np.testing.assert_allclose(again[:, 6], actions[:, 6], atol=1 / 255 + 1e-9)


def test_beyond_the_statistics_is_clipped(processing):
    high = processing.normalizer.q99[0]
    assert processing.actions(processing.action_ids(np.full((1, 7), 9.0)))[0, 0] == pytest.approx(high, abs=3e-4)


def test_statistics_of_ones_own(tmp_path):
    own = {"sft": {"action": {"q01": [0.0] * 7, "q99": [1.0] * 7}}}
    folder = make_tiny(tmp_path / "own", norm_stats=own, depth=1)
    assert Processing.from_checkpoint(folder, load_config(folder)).unnorm_key == "sft"
    with pytest.raises(UnknownStatistics, match="unknown unnorm_key 'bridge_orig'; allowed: sft"):
        Processing.from_checkpoint(folder, load_config(folder), unnorm_key="bridge_orig")


def test_pipelines_are_declared_and_overruled(tmp_path, folder):
    assert ImageProcessor.from_checkpoint(folder).pipeline == "canonical"
    other = make_tiny(tmp_path / "other", depth=1)
    declare_pipeline(other, "bridge")
    assert ImageProcessor.from_checkpoint(other).pipeline == "bridge"
    assert Processing.from_checkpoint(other, load_config(other), pipeline="official").images.pipeline == "official"
    with pytest.raises(BadProcessor, match="unknown image pipeline 'brigde'; did you mean 'bridge'"):
        declare_pipeline(other, "brigde")


@pytest.mark.golden
@pytest.mark.skipif(not (PROTOCOL / "action_decode.json").is_file(), reason=f"no action_decode.json in {PROTOCOL}")
def test_every_token_means_what_it_means_upstream(tmp_path):
    table = json.loads((PROTOCOL / "action_decode.json").read_text())
    stats = {table["unnorm"]: {"action": table["stats"]}}
    assert stats["bridge_orig"]["action"]["q01"] == BRIDGE_STATISTICS["bridge_orig"]["action"]["q01"]
    folder = make_tiny(tmp_path / "tiny", norm_stats=stats, depth=1)
    processing = Processing.from_checkpoint(folder, load_config(folder))
    tokens = np.repeat(np.arange(768, 1024)[:, None], 7, axis=1)  # a small vocabulary ends in the same 256
    np.testing.assert_allclose(processing.canonical(tokens), table["actions"], rtol=0, atol=1e-9)


def test_the_gripper_is_open_or_closed(processing):
    # 768 stands for the largest number, 1023 for -1; above one half are the first quarter of them and one more.
    ids = np.full((256, 7), 900)
    ids[:, 6] = np.arange(768, 1024)
    assert (processing.canonical(ids)[:, 6] == np.where(np.arange(256) < 65, 1, -1)).all()
    assert processing.canonical(ids, open_above=0.0)[127, 6] == 1
