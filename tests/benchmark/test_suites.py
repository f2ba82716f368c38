import pickle
import subprocess
import sys

import pytest

from vlagen.assets.errors import MissingAsset
from vlagen.assets.packs import PACKS
from vlagen.benchmark.backends.task_rows import (
    INSTRUCTIONS,
    SIMPLER_FOLDERS,
    SIMPLER_TASKS,
    BadSuite,
    TaskEpisode,
    require_folders,
)
from vlagen.benchmark.suites import SUITES, Overrides, find_suite, resolve
from vlagen.tasks.variants import PROTOCOLS

OWN = [suite for suite in SUITES if suite.simulator == "put-on-plate"]


def test_the_first_suite_is_the_default_and_names_are_unique():
    names = [suite.name for suite in SUITES]
    assert names[0] == "vlagen-v1"
    assert sorted(names) == ["rl4vla", "simpler-widowx", "smoke", "vlagen-v1"]


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_every_suite_is_found_by_name_and_crosses_processes(suite):
    assert find_suite(suite.name) is suite
    assert pickle.loads(pickle.dumps(suite)) == suite
    assert suite.description
    assert "\n" not in suite.description


@pytest.mark.parametrize("suite", OWN, ids=lambda suite: suite.name)
def test_suites_of_our_own_task_name_protocols_and_packs_that_exist(suite):
    assert suite.protocol in PROTOCOLS
    assert suite.assets in PACKS
    assert suite.rows == ("all",)
    assert suite.horizon == 80


def test_the_study_is_evaluated_as_it_was_published():
    study = find_suite("rl4vla")
    assert (study.protocol, study.assets, study.episodes) == ("rl4vla", "rl4vla", 192)


def test_simpler_runs_the_first_24_numbers_of_every_task_in_order():
    suite = find_suite("simpler-widowx")
    listed = [task.listing(suite.episodes) for task in suite.chosen_tasks]
    assert [[episode.index for episode in episodes] for episodes in listed] == [list(range(24))] * 4
    assert listed[3][5] == TaskEpisode("simpler-widowx", "simpler/eggplant-in-basket", 5)
    assert len({episode for episodes in listed for episode in episodes}) == 96


def test_only_the_eggplant_has_more_than_24():
    assert [task.size for task in SIMPLER_TASKS] == [24, 24, 24, 64]
    more = Overrides(rows=("simpler/eggplant-in-basket",), episodes=64)
    assert resolve(find_suite("simpler-widowx"), more).episodes == 64
    with pytest.raises(
        BadSuite, match="--episodes 25; allowed: 1 to 24, which is all that simpler/carrot-on-plate has"
    ):
        resolve(find_suite("simpler-widowx"), Overrides(episodes=25))


@pytest.mark.parametrize("count", [0, -1])
def test_no_row_has_fewer_than_one_episode(count):
    with pytest.raises(BadSuite, match=f"--episodes {count}; allowed: 1 to"):
        resolve(find_suite("maniskill:StackCube-v1"), Overrides(episodes=count))


def test_a_maniskill_suite_has_one_row_whose_episodes_are_seeds():
    suite = find_suite("maniskill:StackCube-v1")
    (task,) = suite.chosen_tasks
    assert (task.environment, task.id, task.axis, task.numbering) == (
        "StackCube-v1",
        "maniskill/StackCube-v1",
        "maniskill",
        "seed",
    )
    assert task.listing(3) == tuple(
        TaskEpisode("maniskill-StackCube-v1", "maniskill/StackCube-v1", index) for index in range(3)
    )
    # Nested: more episodes begin with the fewer.
    assert task.listing(64)[:8] == task.listing(8)


def test_a_maniskill_suite_takes_arguments():
    arguments = [("instruction", "stack them"), ("height", "256"), ("width", "320"), ("horizon", "70")]
    suite = find_suite("maniskill:StackCube-v1", [*arguments, ("control_mode", "pd_ee_delta_pose")])
    (task,) = suite.tasks
    assert (task.instruction, task.image, task.horizon, task.control_mode) == (
        "stack them",
        (256, 320),
        70,
        "pd_ee_delta_pose",
    )
    assert suite.horizon == 70
    assert find_suite("maniskill:StackCube-v1").horizon is None


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("smok", [], "unknown suite 'smok'; did you mean 'smoke'"),
        ("simpler-windowx", [], "did you mean 'simpler-widowx'"),
        ("manskill:PickCube-v1", [], "did you mean 'maniskill:PickCube-v1'"),
        ("maniskill:", [], "maniskill:<EnvId>"),
        ("smoke", [("height", "3")], "suite 'smoke' takes no --suite-args, and 'height' was given"),
        ("maniskill:A-v1", [("hight", "3")], "unknown suite argument 'hight'; did you mean 'height'"),
        ("maniskill:A-v1", [("height", "3")], "height and width belong together"),
        ("maniskill:A-v1", [("height", "3.5"), ("width", "4")], "height '3.5'; allowed: a whole number from 1 on"),
        ("maniskill:A-v1", [("horizon", "0")], "horizon '0'; allowed: a whole number from 1 on"),
        ("maniskill:A-v1", [("shader", "defalt")], "unknown shader 'defalt'; did you mean 'default'"),
    ],
)
def test_what_no_suite_is_or_takes_is_named_with_what_is(name, arguments, message):
    with pytest.raises(BadSuite, match=message):
        find_suite(name, arguments)


def test_explicit_values_win_and_the_others_stay():
    study = find_suite("rl4vla")
    resolved = resolve(study, Overrides(rows=("vision",), episodes=8, assets="builtin"))
    assert (resolved.rows, resolved.episodes, resolved.assets) == (("vision",), 8, "builtin")
    assert (resolved.protocol, resolved.name) == ("rl4vla", "rl4vla")
    assert resolve(study, Overrides()) == study


def test_compositions_of_our_own_rows_pass_unchecked_to_who_knows_them():
    rows = ("vision/table+execution/position",)
    assert resolve(find_suite("smoke"), Overrides(rows=rows)).rows == rows


def test_rows_of_a_foreign_suite_are_found_by_id_and_axis_in_the_suites_order():
    suite = find_suite("simpler-widowx")
    for names in (("all",), ("simpler",), ("simpler/stack-cube", "simpler")):
        assert resolve(suite, Overrides(rows=names)).chosen_tasks == SIMPLER_TASKS
    two = resolve(suite, Overrides(rows=("simpler/stack-cube", "simpler/carrot-on-plate", "simpler/stack-cube")))
    assert [task.id for task in two.chosen_tasks] == ["simpler/carrot-on-plate", "simpler/stack-cube"]
    with pytest.raises(
        BadSuite, match="unknown row of simpler-widowx 'stack-cubes'; did you mean 'simpler/stack-cube'"
    ):
        resolve(suite, Overrides(rows=("stack-cubes",)))


@pytest.mark.parametrize("overrides", [Overrides(protocol="rl4vla"), Overrides(assets="builtin")])
def test_a_foreign_suite_takes_neither_protocol_nor_assets(overrides):
    with pytest.raises(BadSuite, match="suite 'simpler-widowx' has its own; leave the option out"):
        resolve(find_suite("simpler-widowx"), overrides)


def test_missing_simpler_files_name_the_command_that_brings_them(tmp_path, monkeypatch):
    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path))
    for folder in SIMPLER_FOLDERS:
        with pytest.raises(MissingAsset, match=f"python -m mani_skill.utils.download_asset {folder.uid} -y"):
            require_folders(SIMPLER_TASKS)
        (tmp_path / "data" / folder.path).mkdir(parents=True)
    require_folders(SIMPLER_TASKS)


def test_tasks_of_a_user_need_no_files_that_are_known_beforehand():
    require_folders(find_suite("maniskill:StackCube-v1").tasks)


def test_words_are_plain_sentences():
    for words in INSTRUCTIONS.values():
        assert words == words.strip()
        assert not words.endswith(".")


def test_suites_are_listed_without_a_simulator():
    code = (
        "import sys; import vlagen.benchmark.suites, vlagen.benchmark.backends.maniskill_task; "
        "print([m for m in ('torch', 'sapien', 'gymnasium', 'mani_skill') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
