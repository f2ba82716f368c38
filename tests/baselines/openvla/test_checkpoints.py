import dataclasses
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.baselines.openvla.golden import each_golden
from tests.baselines.openvla.toys import CONFIG, SINGLE, toy_batch, toy_model
from vlagen.assets.errors import VlagenError
from vlagen.baselines.openvla.checkpoints import load_config, load_model, save_model
from vlagen.baselines.openvla.errors import BadCheckpoint
from vlagen.baselines.openvla.lora import add_lora, merge_lora


def toy_checkpoint(folder, **options):
    save_model(toy_model(), folder, **options)
    return folder


def loaded(folder, **options):
    return load_model(folder, dtype=torch.float32, **options)


def same_weights(one, other):
    one, other = one.state_dict(), other.state_dict()
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def rewrite(folder, change):
    """Changes the weights of a folder with one weight file."""
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def edit_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("config", [CONFIG, SINGLE], ids=["fused", "single"])
def test_a_model_comes_back_as_it_was_saved(tmp_path, config):
    model = toy_model(config)
    save_model(model, tmp_path / "saved")
    again = loaded(tmp_path / "saved")
    assert same_weights(model, again)
    assert again.config == config
    assert again.source == tmp_path / "saved"
    with torch.no_grad():
        assert torch.equal(model(**toy_batch(config)), again(**toy_batch(config)))


def test_shards_are_named_and_indexed_as_official_ones(tmp_path):
    folder = toy_checkpoint(tmp_path / "saved", shard_bytes=20_000)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    shards = sorted(path.name for path in folder.glob("*.safetensors"))
    total = len(shards)
    assert total > 2
    assert shards == [f"model-{number:05d}-of-{total:05d}.safetensors" for number in range(1, total + 1)]
    assert sorted(set(index["weight_map"].values())) == shards
    assert index["metadata"]["total_size"] == sum(weight.nbytes for weight in toy_model().state_dict().values())
    for name in shards:
        with safe_open(folder / name, "pt") as shard:
            assert shard.metadata() == {"format": "pt"}
    assert same_weights(loaded(folder), toy_model())


def test_shards_without_an_index_are_read_by_their_numbers(tmp_path):
    folder = toy_checkpoint(tmp_path / "saved", shard_bytes=20_000)
    (folder / "model.safetensors.index.json").unlink()
    assert same_weights(loaded(folder), toy_model())


@each_golden()
def test_a_golden_checkpoint_survives_a_round_trip(golden, tmp_path):
    model = load_model(golden.folder, dtype=torch.bfloat16)
    save_model(model, tmp_path / "again")
    before, after = load_file(golden.folder / "model.safetensors"), load_file(tmp_path / "again" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for name in ("config.json", "preprocessor_config.json", "generation_config.json", "dataset_statistics.json"):
        if (golden.folder / name).is_file():
            assert json.loads((tmp_path / "again" / name).read_text()) == golden.json(name)


def test_tokenizer_and_image_settings_go_along(tmp_path):
    first = toy_checkpoint(tmp_path / "first")
    (first / "tokenizer.json").write_text("{}")
    edit_json(first / "preprocessor_config.json", tvf_do_letterbox="kept")
    (first / "modeling_prismatic.py").write_text("raise SystemExit")
    save_model(loaded(first), tmp_path / "second")
    assert (tmp_path / "second/tokenizer.json").read_text() == "{}"
    assert json.loads((tmp_path / "second/preprocessor_config.json").read_text())["tvf_do_letterbox"] == "kept"
    assert not list((tmp_path / "second").glob("*.py"))


def test_new_statistics_join_the_old_and_stand_in_both_files(tmp_path):
    save_model(toy_model(), tmp_path / "saved", norm_stats={"mine": {"action": {"q01": [0.0], "q99": [1.0]}}})
    in_config = json.loads((tmp_path / "saved/config.json").read_text())["norm_stats"]
    beside = json.loads((tmp_path / "saved/dataset_statistics.json").read_text())
    assert in_config == beside
    assert list(in_config) == ["toy", "mine"]


def test_statistics_beside_the_configuration_win(tmp_path):
    folder = toy_checkpoint(tmp_path / "saved")
    edit_json(folder / "dataset_statistics.json", toy="newer", other="new")
    assert load_config(folder).norm_stats == {"toy": "newer", "other": "new"}


def test_a_published_architecture_points_to_the_code_that_upstreams_loader_asks_for(tmp_path):
    from vlagen.baselines.openvla.configuration import OpenVLAConfig
    from vlagen.baselines.openvla.layout import config_json, preprocessor_json

    config = OpenVLAConfig.from_json({"model_type": "openvla", "vision_backbone_id": "dinosiglip-vit-so-224px"})
    assert config_json(config)["auto_map"]["AutoConfig"].startswith("openvla/openvla-7b--")
    assert preprocessor_json(config)["tvf_normalize_params"][0]["mean"] == [0.484375, 0.455078125, 0.40625]
    assert "auto_map" not in config_json(CONFIG)


def test_layer_scales_may_be_called_gamma(tmp_path):
    folder = toy_checkpoint(tmp_path / "saved")
    scales = [name for name in toy_model().state_dict() if name.endswith(".scale_factor")]
    assert scales

    def rename(state):
        for name in scales:
            state[name.replace("scale_factor", "gamma")] = state.pop(name)

    rewrite(folder, rename)
    assert same_weights(loaded(folder), toy_model())


def test_stored_rotary_frequencies_are_left_aside(tmp_path):
    folder = toy_checkpoint(tmp_path / "saved")
    name = "language_model.model.layers.0.self_attn.rotary_emb.inv_freq"
    rewrite(folder, lambda state: state.update({name: torch.zeros(4)}))
    model = loaded(folder)
    assert same_weights(model, toy_model())
    # θ = 10 000 and heads of 8 numbers: 10000^(-2k/8)
    assert model.language_model.model.rotary_emb.inv_freq.tolist() == pytest.approx([1.0, 0.1, 0.01, 0.001])


def test_dtype_of_the_weights_and_of_the_frequencies(tmp_path):
    model = load_model(toy_checkpoint(tmp_path / "saved"), dtype=torch.bfloat16)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert model.language_model.model.rotary_emb.inv_freq.dtype == torch.float32
    assert not model.training


def test_a_folder_is_replaced_on_request_only_even_by_a_model_that_reads_from_it(tmp_path):
    folder = toy_checkpoint(tmp_path / "saved")
    model = loaded(folder)
    with pytest.raises(BadCheckpoint, match="exists"):
        save_model(model, folder)
    with torch.no_grad():
        model.projector.fc1.bias.fill_(3.0)
    save_model(model, folder, overwrite=True)
    assert same_weights(loaded(folder), model)
    assert loaded(folder).projector.fc1.bias.unique().tolist() == [3.0]
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_a_model_with_adapters_is_not_saved_as_a_whole(tmp_path):
    model = toy_model()
    add_lora(model, rank=2)
    with pytest.raises(BadCheckpoint, match="save_lora"):
        save_model(model, tmp_path / "saved")
    merge_lora(model)
    save_model(model, tmp_path / "saved")
    assert same_weights(loaded(tmp_path / "saved"), toy_model())


def test_missing_extra_and_misshapen_weights_are_named(tmp_path):
    folder = toy_checkpoint(tmp_path / "saved")

    def change(state):
        del state["projector.fc2.bias"]
        state["projector.fc4.bias"] = torch.zeros(1)
        state["projector.fc3.bias"] = torch.zeros(5)

    rewrite(folder, change)
    with pytest.raises(BadCheckpoint) as caught:
        loaded(folder)
    message = str(caught.value)
    assert "1 weights missing: projector.fc2.bias" in message
    assert "1 weights not of this model: projector.fc4.bias" in message
    assert "projector.fc3.bias is [5], not [16]" in message


def test_a_missing_shard_is_named_with_and_without_an_index(tmp_path):
    folder = toy_checkpoint(tmp_path / "saved", shard_bytes=20_000)
    shard = sorted(folder.glob("model-00002-*"))[0]
    shard.unlink()
    for _ in range(2):
        with pytest.raises(BadCheckpoint, match=f"lacks 1 of its .* weight files: {shard.name}"):
            loaded(folder)
        (folder / "model.safetensors.index.json").unlink(missing_ok=True)


@pytest.mark.parametrize("kept", [0.6, 0.0001], ids=["data", "header"])
def test_a_truncated_file_is_named(tmp_path, kept):
    path = toy_checkpoint(tmp_path / "saved") / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors \(\d+ bytes\) is damaged or incomplete"):
        loaded(path.parent)


def test_a_file_that_is_no_safetensors_is_named(tmp_path):
    path = toy_checkpoint(tmp_path / "saved") / "model.safetensors"
    path.write_bytes(b"PK\x03\x04 not what it says")
    with pytest.raises(BadCheckpoint, match="damaged or incomplete"):
        loaded(path.parent)


def test_quantized_weights_are_turned_down(tmp_path):
    folder = toy_checkpoint(tmp_path / "saved")
    rewrite(folder, lambda state: state.update({"projector.fc1.weight": torch.zeros(80, 20, dtype=torch.int8)}))
    with pytest.raises(BadCheckpoint, match=r"projector\.fc1\.weight is of type I8"):
        loaded(folder)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("pytorch_model.bin", "weights_only=True"),
        ("model.pt", "weights_only=True"),
        ("checkpoints/latest-checkpoint.pt", "convert_openvla_weights_to_hf.py"),
    ],
)
def test_pickles_are_never_read(tmp_path, name, advice):
    folder = toy_checkpoint(tmp_path / "saved")
    (folder / "model.safetensors").unlink()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
    with pytest.raises(BadCheckpoint, match="would run code when unpickled") as caught:
        loaded(folder)
    assert name in str(caught.value)
    assert advice in str(caught.value)


def test_a_repository_of_another_model_says_what_it_is_and_that_its_code_is_not_run(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "other_vla", "auto_map": {"AutoModel": "code.OtherVLA"}}')
    (tmp_path / "code.py").write_text("raise SystemExit")
    with pytest.raises(BadCheckpoint, match=r"'other_vla', not 'openvla'.*code\.OtherVLA.*never run.*code\.py"):
        loaded(tmp_path)


def test_folders_without_a_checkpoint_say_what_they_hold(tmp_path):
    with pytest.raises(BadCheckpoint, match=r"no folder .*nothing; give a folder or a hub id"):
        loaded(tmp_path / "nothing")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(BadCheckpoint, match=r"no config\.json.*notes\.txt"):
        loaded(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(BadCheckpoint, match="load its base model"):
        loaded(tmp_path)
    (tmp_path / "config.json").write_text("[1")
    with pytest.raises(BadCheckpoint, match="not JSON"):
        loaded(tmp_path)


def test_a_hub_repository_is_fetched_without_code_and_pickles(tmp_path, monkeypatch):
    hub = toy_checkpoint(tmp_path / "hub")
    (hub / "modeling.py").write_text("raise SystemExit")
    (hub / "pytorch_model.bin").touch()
    calls = []

    def snapshot_download(name, revision, allow_patterns):
        calls.append((name, revision))
        target = tmp_path / "snapshot"
        target.mkdir(exist_ok=True)
        names = [path.name for path in hub.iterdir()]
        for file in huggingface_hub.utils.filter_repo_objects(names, allow_patterns=allow_patterns):
            shutil.copyfile(hub / file, target / file)
        if len(calls) == 1:
            assert [path.name for path in target.iterdir()] == ["config.json"]
        return str(target)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    model = loaded("someone/tuned@v1.0")
    assert calls == [("someone/tuned", "v1.0")] * 2
    assert same_weights(model, toy_model())
    assert model.origin == "someone/tuned@v1.0"
    fetched = {path.name for path in (tmp_path / "snapshot").iterdir()}
    assert fetched == {path.name for path in hub.iterdir()} - {"modeling.py", "pytorch_model.bin"}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("openvla", r"someone/theirs has no weights as safetensors; pytorch_model\.bin would run code.*modeling\.py"),
        ("theirs", r"someone/theirs is of model_type 'theirs'.*code of its own \(modeling\.Theirs\).*modeling\.py"),
    ],
)
def test_a_hub_repository_of_code_and_pickles_says_what_it_holds(tmp_path, monkeypatch, kind, words):
    wanted = []

    def snapshot_download(name, revision, allow_patterns):
        wanted.extend(allow_patterns)
        return str(tmp_path)

    class Hub:
        def model_info(self, name, revision, timeout):
            names = ("config.json", "modeling.py", "pytorch_model.bin")
            return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])

    content = {"model_type": kind, "auto_map": {"AutoModel": "modeling.Theirs"}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    with pytest.raises(BadCheckpoint, match=words):
        loaded("someone/theirs")
    assert ("*.safetensors" in wanted) is (kind == "openvla")  # nothing large is fetched of another model


def test_without_a_network_the_message_says_what_to_do(tmp_path):
    # A process of its own: the hub's address and cache are read when its library is imported.
    code = "from vlagen.baselines.openvla.sources import checkpoint_folder; checkpoint_folder('openvla/openvla-7b')"
    surroundings = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    result = subprocess.run([sys.executable, "-c", code], env=surroundings, capture_output=True, text=True, check=False)
    last = result.stderr.strip().splitlines()[-1]
    assert "BadCheckpoint: no folder openvla/openvla-7b, and the Hugging Face hub does not give it" in last
    assert "give the folder" in last


def test_every_refusal_is_one_that_command_lines_show_without_a_traceback(tmp_path):
    with pytest.raises(VlagenError):
        loaded(tmp_path)


# Not `ru_maxrss`: a child begins with what its parent had reached.
MEASURE = """
import re, sys
from pathlib import Path
import torch
from vlagen.baselines.openvla.checkpoints import load_model
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
model = load_model(sys.argv[1])
touched = sum(weight.flatten()[::1024].sum().item() for weight in model.parameters())  # a number of every page
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading_takes_little_more_memory_than_the_checkpoint(tmp_path):
    text = {**CONFIG.text, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 40, "vocab_size": 32064}
    config = dataclasses.replace(CONFIG, text=text, pad_to_multiple_of=64, pad_token_id=32000, action_bins=256)
    save_model(toy_model(config).to(torch.bfloat16), tmp_path / "saved", shard_bytes=120_000_000)
    files = list(tmp_path.glob("saved/*.safetensors"))
    size = sum(path.stat().st_size for path in files)
    assert size > 300_000_000
    assert len(files) >= 3
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "saved")]
    peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert 0.95 * size < peak < 1.2 * size
