import dataclasses
import json
import subprocess
import sys

import pytest

from tests.baselines.openvla.golden import each_golden
from tests.baselines.openvla.toys import CONFIG, SINGLE
from vlagen.baselines.openvla.architectures import ARCHITECTURES, BACKBONES
from vlagen.baselines.openvla.configuration import OpenVLAConfig
from vlagen.baselines.openvla.errors import BadConfiguration
from vlagen.baselines.openvla.layout import preprocessor_json

OFFICIAL = {
    "model_type": "openvla",
    "vision_backbone_id": "dinosiglip-vit-so-224px",
    "llm_backbone_id": "llama2-7b-pure",
    "text_config": {"model_type": "llama", "pad_token_id": 32000, "torch_dtype": "bfloat16", "vocab_size": 32064},
    "torch_dtype": "bfloat16",
}


@each_golden()
def test_a_golden_configuration_is_written_as_it_was_read(golden):
    content = golden.json("config.json")
    assert OpenVLAConfig.from_json(content).to_json() == content


@each_golden()
def test_image_settings_are_written_as_upstream_wrote_them(golden):
    config = OpenVLAConfig.from_json(golden.json("config.json"))
    assert preprocessor_json(config) == golden.json("preprocessor_config.json")


def test_derived_numbers_of_the_published_model():
    config = OpenVLAConfig.from_json(OFFICIAL)
    assert [each.timm_id for each in config.vision] == [
        "vit_large_patch14_reg4_dinov2.lvd142m",
        "vit_so400m_patch14_siglip_224",
    ]
    assert (config.fused, config.image_size, config.channels, config.patches) == (True, 224, 6, 256)
    assert (config.vision_width, config.width, config.head_rows) == (1024 + 1152, 4096, 32064)
    assert config.vision[1].mlp_width == 4304
    assert (config.vocabulary_size, config.action_token_ids) == (32000, range(31744, 32000))
    assert config.image_resize_strategy == "letterbox"  # what upstream's code assumes when a file says nothing


def test_a_single_backbone_of_the_first_release():
    content = {**OFFICIAL, "vision_backbone_id": "siglip-vit-so400m", "use_fused_vision_backbone": False}
    config = OpenVLAConfig.from_json(content)
    assert (config.fused, config.channels, config.vision_width) == (False, 3, 1152)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_of_prismatic_makes_a_configuration_that_survives_its_file(backbone):
    config = OpenVLAConfig.from_json({**OFFICIAL, "vision_backbone_id": backbone})
    side, ids = BACKBONES[backbone]
    assert [each.image_size for each in config.vision] == [side] * len(ids)
    assert config.patches == (side // config.vision[0].patch_size) ** 2
    assert [each.activation for each in config.vision] == [
        "quick_gelu" if "clip" in name and "siglip" not in name else "gelu" for name in ids
    ]
    written = json.loads(json.dumps(config.to_json()))
    assert "vision_arch" not in written
    assert OpenVLAConfig.from_json(written) == config


@pytest.mark.parametrize("config", [CONFIG, SINGLE], ids=["fused", "single"])
def test_shapes_that_are_spelled_out_survive_their_file(config):
    written = json.loads(json.dumps(config.to_json()))
    assert OpenVLAConfig.from_json(written) == config


def test_lists_in_the_file_win_over_the_name_of_the_backbone():
    content = {**OFFICIAL, "image_sizes": [384, 384]}
    assert OpenVLAConfig.from_json(content).patches == 27 * 27


def test_what_transformers_5_writes_is_read_and_written_the_old_way():
    content = {
        **OFFICIAL,
        "text_config": {
            "model_type": "llama",
            "vocab_size": 32064,
            "dtype": "float16",
            "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0},
        },
        "dtype": "float16",
    }
    del content["torch_dtype"]
    written = OpenVLAConfig.from_json(content).to_json()
    assert (written["torch_dtype"], written["text_config"]["torch_dtype"]) == ("float16", "float16")
    assert written["text_config"]["rope_theta"] == 5000.0
    assert written["text_config"]["rope_scaling"] == {"rope_type": "linear", "factor": 2.0}
    assert "rope_parameters" not in written["text_config"]


def test_statistics_that_are_merged_in_win_over_those_of_the_same_name():
    config = dataclasses.replace(CONFIG, norm_stats={"a": 1, "b": 2}).with_norm_stats({"b": 3, "c": 4})
    assert config.norm_stats == {"a": 1, "b": 3, "c": 4}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "llava"}, "model_type is 'llava'"),
        ({"vision_backbone_id": "dinosiglip-vit-so-224"}, "did you mean 'dinosiglip-vit-so-224px'"),
        ({"timm_model_ids": ["vit_large_patch14_reg4_dinov2", "x"]}, "spell its shape out under 'vision_arch'"),
        ({"image_sizes": [224]}, "an entry for each"),
        ({"image_sizes": [224, 336]}, "as many patches"),
        ({"use_fused_vision_backbone": False}, "use_fused_vision_backbone is False"),
        ({"text_config": {"model_type": "mistral"}}, "type 'mistral'; only llama"),
        ({"image_resize_strategy": "resize-nave"}, "did you mean 'resize-naive'"),
        ({"timm_override_act_layers": ["relu", None]}, "unknown activation 'relu'"),
        ({"vision_arch": [{"img_size": 224}, {"img_size": 224}]}, "lacks patch_size, embed_dim"),
        ({"vision_arch": [{"global_pool": "avg"}, {}]}, "global_pool 'avg'"),
    ],
)
def test_a_configuration_that_cannot_be_built_says_why(change, words):
    with pytest.raises(BadConfiguration, match=words):
        OpenVLAConfig.from_json({**OFFICIAL, **change})


def test_the_configuration_needs_no_torch():
    code = (
        "import sys, vlagen.baselines.openvla.configuration\n"
        "assert not {'torch', 'transformers', 'peft', 'timm', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_two_backbones_share_a_name():
    assert all(name == each.timm_id for name, each in ARCHITECTURES.items())
    assert {name for _, ids in BACKBONES.values() for name in ids} == set(ARCHITECTURES)
