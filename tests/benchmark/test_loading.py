"""Policies by name, in folders and installed packages that are made for the test."""

from __future__ import annotations

import importlib
import json
import pickle
import subprocess
import sys
import textwrap
from hashlib import sha256
from pathlib import Path

import pytest

from vlagen.benchmark.adapters.noop import NoopPolicy
from vlagen.benchmark.loading.arguments import parse_value, split_pairs
from vlagen.benchmark.loading.importing import UnknownPolicy
from vlagen.benchmark.loading.source import BUILT_IN, PolicySource, find_policy, installed_policies
from vlagen.benchmark.loading.source_files import files_of
from vlagen.benchmark.loading.template import CannotWrite, write_template
from vlagen.benchmark.policy import PolicyError, PolicySpec


def adapter(name: str = "Mine", parameters: str = "**anything", making: str = "pass") -> str:
    """The text of a module with one policy class."""
    return textwrap.dedent(f"""
        from vlagen.benchmark.policy import Policy, PolicyEpisode, PolicySpec

        class {name}:
            spec = PolicySpec(needs_images=False)
            def __init__(self, {parameters}): {making}
            def reset(self, episodes): pass
            def act(self, observation): pass
    """)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]
    importlib.invalidate_caches()


def write(path: str, text: str) -> Path:
    """Writes a file below the working directory."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(textwrap.dedent(text))
    return Path(path)


def install(folder: Path, distribution: str, **entry_points: str) -> None:
    """Makes a package that is installed, as far as its metadata go."""
    information = folder / "site" / f"{distribution}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in entry_points.items()]
    (information / "entry_points.txt").write_text("[vlagen.policies]\n" + "\n".join(lines) + "\n")
    if str(folder / "site") not in sys.path:
        sys.path.append(str(folder / "site"))


# Names


def test_built_in_policies_have_names():
    assert set(BUILT_IN) == {"random", "noop", "expert"}
    for name in BUILT_IN:
        source = find_policy(name)
        assert source.factory.__module__.startswith("vlagen.benchmark.adapters.")
        assert source.identity()["name"] == source.label == name


def test_policies_are_found_by_module_and_attribute():
    assert find_policy("vlagen.benchmark.adapters.noop:NoopPolicy").factory is NoopPolicy


@pytest.mark.parametrize("name", ["adapter_b:Mine", "adapter_b", "adapter_b.py", "adapter_b.py:Mine", "./adapter_b.py"])
def test_an_adapter_in_the_working_directory_has_many_names(folder, name):
    write("adapter_b.py", adapter())
    source = find_policy(name)
    assert source.factory.__name__ == "Mine"
    assert isinstance(source.make(), source.factory)


def test_an_adapter_may_lie_elsewhere(folder):
    write("deep/inside/adapter_b.py", adapter())
    relative, absolute = find_policy("deep/inside/adapter_b.py"), find_policy(f"{folder}/deep/inside/adapter_b.py:Mine")
    assert relative.factory is absolute.factory
    assert relative.identity() == absolute.identity()
    assert find_policy("deep.inside.adapter_b").factory.__name__ == "Mine"


def test_a_file_finds_what_lies_beside_it_and_replaces_no_module(folder):
    write("there/random.py", "from beside_it import NAME\n" + adapter("Mine"))
    write("there/beside_it.py", "NAME = 1\n")
    import random

    assert find_policy("there/random.py").factory.__name__ == "Mine"
    assert sys.modules["random"] is random
    assert find_policy("random").factory.__name__ == "RandomPolicy"


def test_the_package_of_a_policy_may_collect_what_its_modules_define(folder):
    write("bundle/__init__.py", "from .inner import Mine\n")
    write("bundle/inner.py", adapter())
    assert find_policy("bundle").factory.__name__ == "Mine"
    assert find_policy("bundle.inner").factory.__name__ == "Mine"


# Which one of a module


def test_the_policy_class_of_the_protocol_is_nobodys_own(folder):
    """The template of every adapter imports ``Policy``; the class that is meant is the one defined there."""
    write("adapter_c.py", adapter() + "class Settings: pass\n")
    assert find_policy("adapter_c").factory.__name__ == "Mine"


@pytest.mark.parametrize(
    ("definitions", "chosen"),
    [
        (["class First(Base): pass", "class Policy(Base): pass"], "Policy"),
        (["class First(Base): pass", "def make_policy(): return First()"], "make_policy"),
        (["class Policy(Base): pass", "def make_policy(): return Policy()"], "make_policy"),
        (["class _Hidden(Base): pass", "class Shown(Base): pass"], "Shown"),
    ],
)
def test_some_names_are_meant_when_none_is_given(folder, definitions, chosen):
    write("base_of_many.py", adapter("Base"))
    write("adapter_d.py", "\n".join(["from base_of_many import Base", *definitions]))
    assert find_policy("adapter_d").factory.__name__ == chosen


def test_several_policies_are_listed(folder):
    write("base_of_many.py", adapter("Base"))
    write("adapter_e.py", "from base_of_many import Base\nclass One(Base): pass\nclass Two(Base): pass\n")
    with pytest.raises(UnknownPolicy, match=r"defines several policies: One, Two; name one, e.g. adapter_e:One"):
        find_policy("adapter_e")
    assert find_policy("adapter_e:Two").factory.__name__ == "Two"


def test_a_module_without_a_policy_says_what_one_is(folder):
    write("adapter_f.py", "class Model: pass\n")
    with pytest.raises(
        UnknownPolicy, match=r"no class with reset and act, and no function make_policy .*Model.*--new-adap"
    ):
        find_policy("adapter_f")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("math:pi", "is a float; allowed: a class, or a function"),
        ("json:JSONDecoder", "is a class that lacks reset and act"),
        ("json:dumps", "needs obj; give --policy-args obj=..."),
    ],
)
def test_what_makes_no_policy_is_refused(name, complaint):
    with pytest.raises(PolicyError, match=complaint):
        find_policy(name)


# Names that mean nothing, or two things


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("randon", "unknown policy 'randon'; did you mean 'random'.*or give your own as file.py or module:attribute"),
        ("my_adaptr", "did you mean 'my_adapter'"),
        ("./my_adapter", "did you mean 'my_adapter'"),
        ("", "unknown policy ''"),
        ("my_adaptr.py", "there is no /.*/my_adaptr.py; unknown file 'my_adaptr.py'; did you mean 'my_adapter.py'"),
        ("no_such_module:Policy", "module 'no_such_module' was not found"),
        ("my_adapter.inner:Policy", "my_adapter"),
        ("my_adapter:Mime", "unknown attribute 'Mime'; did you mean 'Mine'. allowed: Mine"),
        ("my_adapter.py:Mime", "unknown attribute 'Mime'"),
        ("vlagen.benchmark.adapters.noop:NopPolicy", "did you mean 'NoopPolicy'"),
    ],
)
def test_unknown_policies_name_the_nearest(folder, name, complaint):
    write("my_adapter.py", adapter())
    with pytest.raises(UnknownPolicy, match=complaint):
        find_policy(name)


def test_installed_policies_are_found_by_their_names(folder):
    install(folder, "acme", acme_walker="acme_policies:Walker", acme_only="acme_policies_one")
    write("site/acme_policies.py", adapter("Walker"))
    write("site/acme_policies_one.py", adapter("Only"))
    names = installed_policies()
    assert names[:3] == ("random", "noop", "expert")
    assert {"acme_only", "acme_walker"} <= set(names[3:])
    walker = find_policy("acme_walker")
    assert walker.factory.__name__ == "Walker"
    assert walker.identity()["name"] == "acme_policies:Walker"
    assert walker.label == "acme_walker"
    assert find_policy("acme_only").factory.__name__ == "Only"
    with pytest.raises(UnknownPolicy, match="did you mean 'acme_walker'"):
        find_policy("acme_waker")


def test_an_installed_policy_cannot_take_the_name_of_a_built_in_one(folder):
    install(folder, "acme", noop="acme_policies:Walker")
    write("noop.py", adapter())
    assert find_policy("noop").factory.__name__ == "NoopPolicy"
    assert installed_policies().count("noop") == 1


def test_an_installed_policy_and_a_file_of_the_same_name_are_told_apart(folder):
    install(folder, "acme", walker="acme_policies:Walker")
    write("site/acme_policies.py", adapter("Walker"))
    write("walker.py", adapter())
    with pytest.raises(
        UnknownPolicy, match=r"'walker' is an installed policy \(acme_policies:Walker\) as well as walker.py"
    ):
        find_policy("walker")
    assert find_policy("walker.py").factory.__name__ == "Mine"
    assert find_policy("acme_policies:Walker").factory.__name__ == "Walker"


def test_two_installed_policies_of_the_same_name_are_told_apart(folder):
    install(folder, "acme", walker="acme_policies:Walker")
    install(folder, "zenith", walker="zenith_policies:Walker")
    with pytest.raises(UnknownPolicy, match="give one of acme_policies:Walker, zenith_policies:Walker"):
        find_policy("walker")


@pytest.mark.parametrize("name", ["tabnanny", "tabnanny:Mine"])
def test_a_module_here_and_elsewhere_is_refused(folder, name):
    """``tabnanny`` is in the standard library, which nothing in the working directory replaces."""
    write("tabnanny.py", adapter())
    with pytest.raises(UnknownPolicy, match=r"tabnanny is tabnanny.py in this folder as well as /.*; rename yours"):
        find_policy(name)
    assert find_policy("tabnanny.py").factory.__name__ == "Mine"


# Code that does not work


@pytest.mark.parametrize("name", ["broken_adapter", "broken_adapter.py", "broken_adapter:Mine"])
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "def load():\n    return {}['weights']\nload()\n",
            r"KeyError: 'weights'\n.*broken_adapter.py\", line 2, in load",
        ),
        ("x = (\n", "SyntaxError: '[(]' was never closed"),
        ("import argparse\nargparse.ArgumentParser().parse_args(['x'])\n", "SystemExit: 2"),
        ("import no_such_thing_at_all\n", "No module named 'no_such_thing_at_all'"),
        (
            "from vlagen.benchmark.actions.formats import ActionFormat\nActionFormat(frame='x')\n",
            "BadDeclaration: unknown frame",
        ),
    ],
)
def test_errors_while_importing_show_where_they_are(folder, name, text, complaint):
    write("broken_adapter.py", text)
    with pytest.raises(PolicyError, match=f"(?s)^policy '{name}' .*{complaint}") as raised:
        find_policy(name)
    assert raised.value.__cause__ is not None
    assert "importlib" not in str(raised.value)
    # Mended in the same session, as in a notebook.
    write("broken_adapter.py", adapter())
    assert find_policy(name).factory.__name__ == "Mine"


def test_a_missing_dependency_is_not_a_missing_policy(folder):
    write("adapter_g.py", "import no_such_thing_at_all\n")
    with pytest.raises(PolicyError, match="'adapter_g' needs 'no_such_thing_at_all', which is not installed"):
        find_policy("adapter_g")


def test_errors_while_making_show_where_they_are(folder):
    write("adapter_h.py", adapter(making="raise OSError('no weights')"))
    source = find_policy("adapter_h")
    with pytest.raises(
        PolicyError, match=r"(?s)could not be made: OSError: no weights\n.*adapter_h.py.*in __init__"
    ) as r:
        source.make()
    assert "loading.py" not in str(r.value)


def test_what_is_made_must_be_a_policy(folder):
    write("adapter_i.py", "def make_policy():\n    return 3\n")
    with pytest.raises(PolicyError, match="'adapter_i' is a int, which lacks reset and act"):
        find_policy("adapter_i").make()


# Declarations


def test_a_declaration_in_the_class_is_read_without_making_the_policy(folder):
    write("adapter_j.py", adapter(making="raise OSError('too early')"))
    assert find_policy("adapter_j").spec == PolicySpec(needs_images=False)


COUNTED = """
    from vlagen.benchmark.policy import PolicySpec
    made = []
    class Mine:
        def __init__(self, chunk: int = 1):
            self.spec = PolicySpec(chunk=chunk)
            made.append(self)
        def reset(self, episodes): pass
        def act(self, observation): pass
"""


def test_a_declaration_that_depends_on_arguments_is_that_of_a_made_policy(folder):
    write("adapter_k.py", COUNTED)
    source = find_policy("adapter_k", [("chunk", "8")])
    made = sys.modules["adapter_k"].made
    assert made == []
    assert source.spec.chunk == 8
    assert source.spec.chunk == 8
    # Weights are loaded once: what was made to be asked is handed out first.
    assert source.make() is made[0]
    assert len(made) == 1
    assert source.make() is made[1]
    assert find_policy("adapter_k").spec.chunk == 1


def test_a_policy_declares_one_thing_only(folder):
    write(
        "adapter_l.py",
        COUNTED.replace("    made = []", "    made = []\n").replace(
            "def reset", "spec = PolicySpec(chunk=2)\n        def reset"
        ),
    )
    with pytest.raises(PolicyError, match="one spec in its class and another once it is made"):
        find_policy("adapter_l").make()
    assert find_policy("adapter_l", [("chunk", "2")]).make().spec.chunk == 2


# Arguments


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("1e-3", 1e-3),
        ("true", True),
        ("False", False),
        ("null", None),
        ("None", None),
        ("[1, 2]", [1, 2]),
        ('"3"', "3"),
        ("openvla/openvla-7b", "openvla/openvla-7b"),
        ("007", "007"),
        ("NaN", "NaN"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_values_are_json_or_text(text, value):
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_a_parameter_that_wants_a_text_gets_one():
    for annotation in (str, "str", str | None, "str | None"):
        assert parse_value("12", annotation) == "12"
        assert parse_value('"12"', annotation) == "12"
        assert parse_value("12", int) == 12
    assert parse_value("null", "str | None") is None


def test_pairs_are_split_at_the_first_equals_sign():
    assert split_pairs(["a=1", "path=x=y", "empty="]) == (("a", "1"), ("path", "x=y"), ("empty", ""))
    for text in ("a", "=1", "a-b=1"):
        with pytest.raises(PolicyError, match=f"--policy-args '{text}'; allowed: name=value"):
            split_pairs([text])


WITH_ARGUMENTS = """
    from vlagen.benchmark.policy import PolicySpec
    class Mine:
        spec = PolicySpec()
        def __init__(self, checkpoint: str, temperature=0.6, *, sizes=(1, 2), model=object()):
            self.given = (checkpoint, temperature, sizes)
        def reset(self, episodes): pass
        def act(self, observation): pass
"""


def test_arguments_reach_the_policy_and_its_identity(folder):
    write("adapter_m.py", WITH_ARGUMENTS)
    source = find_policy("adapter_m", [("checkpoint", "12"), ("sizes", "[3]")])
    assert source.make().given == ("12", 0.6, [3])
    identity = source.identity()
    assert identity["arguments"] == {
        "checkpoint": "12",
        "temperature": 0.6,
        "sizes": [3],
        "model": "builtins.object",  # an address would differ from process to process
    }
    assert json.loads(json.dumps(identity)) == identity
    assert find_policy("adapter_m", [("checkpoint", "12")]).identity()["arguments"]["sizes"] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "needs checkpoint; give --policy-args checkpoint=..."),
        ([("chekpoint", "x")], "unknown argument 'chekpoint'; did you mean 'checkpoint'"),
        ([("checkpoint", "x"), ("checkpoint", "y")], "argument 'checkpoint' is given twice"),
    ],
)
def test_arguments_are_checked_before_anything_is_made(folder, arguments, complaint):
    write("adapter_n.py", WITH_ARGUMENTS)
    with pytest.raises(PolicyError, match=f"^policy 'adapter_n'.*{complaint}"):
        find_policy("adapter_n", arguments)


def test_functions_take_arguments_too_and_may_take_any(folder):
    write("adapter_o.py", WITH_ARGUMENTS + "\n    def make_policy(**settings):\n        return Mine(**settings)\n")
    source = find_policy("adapter_o", [("checkpoint", "x"), ("temperature", "0")])
    assert source.make().given == ("x", 0, (1, 2))
    assert source.identity()["arguments"] == {"checkpoint": "x", "temperature": 0}


# Labels, pickles, hashes


@pytest.mark.parametrize(
    ("name", "arguments", "label"),
    [
        ("expert", (), "expert"),
        ("package.module:Mine", (), "package.module-Mine"),
        ("some/where/my_adapter.py:Mine", (), "my_adapter-Mine"),
        ("../.hidden.py", (), "hidden"),
        ("mine", (("temperature", "0.6"), ("chunk", "8")), "mine,temperature=0.6,chunk=8"),
    ],
)
def test_labels_are_short_and_safe(name, arguments, label):
    assert PolicySource(name, arguments).label == label


def test_labels_of_different_arguments_differ_even_where_they_had_to_be_cut():
    paths = ["/data/" + "x" * 90 + "/a", "/data/" + "x" * 90 + "/b", "a/b", "a-b"]
    labels = {PolicySource("mine", (("checkpoint", path),)).label for path in paths}
    assert len(labels) == 4
    assert all(len(label) < 70 and "/" not in label for label in labels)


@pytest.mark.parametrize("name", ["adapter_p.py", "adapter_p", "adapter_p:Mine", "lib/adapter_q.py"])
def test_another_process_in_another_folder_makes_the_same_policy(folder, name):
    write("adapter_p.py", adapter(parameters="size=1"))
    write("lib/adapter_q.py", "from beside_q import Mine\ndef make_policy(size=1): return Mine(size)\n")
    write("lib/beside_q.py", adapter(parameters="size=1"))
    source = find_policy(name, [("size", "4")])
    program = (
        "import pickle, sys, json; source = pickle.loads(bytes.fromhex(sys.argv[1]));"
        "print(type(source.make()).__name__, json.dumps(source.identity()))"
    )
    (folder / "elsewhere").mkdir()
    output = subprocess.run(
        [sys.executable, "-c", program, pickle.dumps(source).hex()],
        cwd=folder / "elsewhere",
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    made, _, identity = output.partition(" ")
    assert made == "Mine"
    assert json.loads(identity) == source.identity()


def source_hash(name):
    return find_policy(name).identity()["source"]


def test_the_hash_is_that_of_the_file(folder):
    content = write("adapter_r.py", adapter()).read_bytes()
    expected = sha256(f"adapter_r.py\0{sha256(content).hexdigest()}\n".encode()).hexdigest()
    assert source_hash("adapter_r") == source_hash("adapter_r.py") == expected


def test_the_hash_covers_what_is_imported_from_the_same_place_and_nothing_else(folder):
    write(
        "adapter_s.py",
        "import json\nfrom parts import deep\n" + adapter("A"),
    )
    write("parts/deep.py", "def f():\n    import late_part\n")
    write("late_part.py", "x = 1\n")
    write("unrelated.py", "x = 1\n")
    find_policy("adapter_s")
    names = [path.relative_to(folder).as_posix() for path in files_of(sys.modules["adapter_s"])]
    assert names == ["adapter_s.py", "late_part.py", "parts/deep.py"]
    before = source_hash("adapter_s")
    write("unrelated.py", "x = 2\n")
    assert source_hash("adapter_s") == before
    write("late_part.py", "x = 2\n")
    assert source_hash("adapter_s") != before


def test_the_hash_of_a_package_covers_all_of_it_and_that_of_its_module_what_it_imports(folder):
    write("whole/__init__.py", "from .inner import Mine\n")
    write("whole/inner.py", "from . import near\n" + adapter("Mine"))
    write("whole/near.py", "from .sub import far, nothing_there\n")
    write("whole/sub/far.py", "x = 1\n")
    write("whole/sub/__init__.py", "nothing_there = 1\n")
    write("whole/other.py", "x = 1\n")
    find_policy("whole")
    root = folder / "whole"
    assert {path.name for path in files_of(sys.modules["whole"])} == {
        "__init__.py", "inner.py", "near.py", "far.py", "other.py",
    }  # fmt: skip
    assert [path.relative_to(root).as_posix() for path in files_of(sys.modules["whole.inner"])] == [
        "inner.py",
        "near.py",
        "sub/__init__.py",
        "sub/far.py",
    ]


def test_the_expert_is_more_than_one_file():
    find_policy("expert")
    names = {path.name for path in files_of(sys.modules["vlagen.benchmark.adapters.expert"])}
    assert {"expert.py", "expert_view.py", "grasps.py", "motion.py"} <= names
    assert "noop.py" not in names


# The template


def test_the_template_runs_as_it_is(folder):
    path = write_template("start_here.py")
    assert path == Path("start_here.py")
    source = find_policy("start_here", [("temperature", "0.5")])
    assert source.identity()["arguments"] == {"checkpoint": "", "temperature": 0.5}
    assert source.spec.needs_images
    text = path.read_text()
    assert "vlagen-check-policy start_here" in text
    assert "my_adapter" not in text


def test_nothing_is_overwritten(folder):
    write("precious.py", "x = 1\n")
    with pytest.raises(CannotWrite, match=r"precious.py is there already and is left as it is"):
        write_template(Path("precious.py"))
    assert Path("precious.py").read_text() == "x = 1\n"


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("my-adapter.py", "my-adapter.py is no name for a Python module; try my_adapter.py"),
        ("adapter", "try adapter.py"),
        ("3d.py", "try d.py"),
        ("no/such/folder/mine.py", "cannot be written: No such file or directory"),
    ],
)
def test_the_template_needs_a_place(folder, path, complaint):
    with pytest.raises(CannotWrite, match=complaint):
        write_template(path)
    assert list(folder.iterdir()) == []
