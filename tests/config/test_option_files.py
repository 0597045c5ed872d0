"""Options that inherit: what they give without Hydra, and that the fragments they share are no options."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from support.checkout import write
from support.option_trees import CONF, GROUPS, OURS, TREES

from tflite_recipes.cli import completion
from tflite_recipes.config import catalog, composition
from tflite_recipes.core.errors import RequestError
from tflite_recipes.core.schema import TARGET
from tflite_recipes.past_runs.reproduce import trust

FRAGMENTS = sorted({*CONF.glob("*/*.yaml")} - {*OURS.values()})


def of_hydra(folder, option):
    """The section as Hydra composes it."""
    group, _, name = option.rpartition("/")
    with initialize_config_dir(str(folder), version_base="1.3"):
        return OmegaConf.to_container(compose(overrides=[f"+{group}={name}"]))[group]


def problems(*overrides, name="digits_integer_only"):
    with pytest.raises(RequestError) as refused:
        composition.compose(name, overrides)
    return refused.value.problems


def fragment_names(folder=CONF):
    return {path.stem for path in folder.rglob("_*.yaml")}


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_option_values_are_those_that_hydra_composes(group):
    """Hydra composes all options of a group at once, each at a place of its own."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=[f"+{group}@{name}={name}" for name in GROUPS[group]])
    values = {name: catalog.option_values(path, [CONF]) for name, path in GROUPS[group].items()}
    assert values == OmegaConf.to_container(config)
    assert not [name for name, section in values.items() if "defaults" in section]


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_option_values_merge_as_hydra_merges(here, tree):
    for name, text in tree.items():
        write(here / "conf" / f"{name}.yaml", text)
    values = catalog.option_values(here / "conf" / "g" / "a.yaml")
    expected = of_hydra(here / "conf", "g/a")
    assert (values, list(values)) == (expected, list(expected))


@pytest.mark.slow
def test_option_values_leave_a_circle_to_hydra(here):
    write(here / "conf" / "target" / "a.yaml", "# A\ndefaults: [b, _self_]\nx: 1\n")
    write(here / "conf" / "target" / "b.yaml", "# B\ndefaults: [a, _self_]\ny: 2\n")
    assert catalog.option_values(here / "conf" / "target" / "a.yaml") == {"x": 1, "y": 2}
    own = here / "conf" / "target"
    wanted = [f"{own / name}.yaml defaults" for name in "ab"]
    assert [problem.where for problem in problems("target=a")] == wanted


@pytest.mark.slow
def test_a_users_option_inherits_ours(here):
    own = here / "conf" / "target"
    write(own / "_mine.yaml", "# What my boards share\n\ndefaults: [_micro, _self_]\nflash_kb: 100\n")
    write(own / "board.yaml", "# A board\ndefaults: [_mine, _self_]\nram_kb: 64\nclock_mhz: 10\n")
    write(own / "npu.yaml", "# An NPU\ndefaults: [ethos_u55_128, _self_]\noptimise: Size\n")
    board = composition.compose("digits_integer_only", ["target=board"]).config["target"]
    ours = composition.compose("digits_integer_only", ["target=rp2040"]).config["target"]
    assert board == {**ours, "flash_kb": 100.0, "ram_kb": 64.0, "clock_mhz": 10.0}
    npu = composition.compose("digits_integer_only", ["target=npu"]).config["target"]
    ours = composition.compose("digits_integer_only", ["target=ethos_u55_128"]).config["target"]
    assert npu == {**ours, "optimise": "Size"}
    assert {"board", "npu"} <= catalog.list_groups()["target"].keys()
    assert catalog.describe(catalog.list_groups()["target"]["board"]) == "A board"


# Fragments


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_fragment_says_what_it_is_and_several_options_inherit_it(path):
    assert 10 <= len(catalog.describe(path)) < 100
    assert path.read_text(encoding="utf-8").splitlines()[1] == ""  # or the first key's comment would be the file's own
    heirs = [name for name, own in OURS.items() if path in dict(catalog.option_files(own, [CONF]))]
    assert len(heirs) > 1


@pytest.mark.slow
def test_a_fragment_is_never_listed(here, cli):
    write(here / "conf" / "target" / "_mine.yaml", "# What my boards share\n\nflash_kb: 100\n")
    write(here / "conf" / "_shared" / "part.yaml", "# What groups share\n\nflash_kb: 100\n")
    names = [name for options in catalog.list_groups().values() for name in options]
    assert len(fragment_names()) > 5
    assert not [name for name in (*names, *catalog.list_groups()) if name.startswith("_")]
    assert "_ethos_u" not in cli("ls", "target").out + cli("ls").out
    answer = cli("ls", "_samples")
    assert (answer.status, answer.out) == (2, "")
    assert "there is no group '_samples'" in answer.err
    for line in ("target=", "target=_", "calibration=", "_", "+_", "sam", "_samples=", "+_samples=c", "_shared="):
        offered = completion.candidates(f"tflite-recipes run digits_integer_only {line}")
        assert not [text for text in offered if text.startswith(("_", "+_")) or "=_" in text], line
    for line in ("target=", "_", "+", "_samples=", "_shared="):
        offered = composition.complete("digits_integer_only", line)
        assert not [text for text in offered if text.lstrip("+").startswith("_") or "=_" in text], line


@pytest.mark.slow
@pytest.mark.parametrize("fragment", ["_ethos_u", "_mine"])
def test_a_fragment_that_is_chosen_is_refused_with_the_options(here, fragment):
    write(here / "conf" / "target" / "_mine.yaml", "# Mine\n\ndefaults: [generic, _self_]\n")
    write(here / "conf" / "target" / "board.yaml", "# A board\ndefaults: [_mine, _self_]\n")
    found = {problem.where: problem for problem in problems(f"target={fragment}", "calibration.samples=-1")}
    assert found.keys() == {"target", "calibration.samples"}  # all at once
    said = found["target"]
    options = ", ".join(sorted(catalog.list_groups()["target"]))
    assert said.what == f"{fragment!r} is a fragment that options share, not an option; there are {options}"
    assert (said.fix, said.alternatives) == ("", ())
    head = "# @package _global_\ndefaults: [/builtin/digits_integer_only, {override /target: %s}, _self_]\n"
    write(here / "recipes" / "mine.yaml", head % fragment)
    assert problems(name="mine") == (said,)


@pytest.mark.parametrize(
    "text", ["_samples=csv", "+_samples=csv", "++_samples=csv", "_samples=nothing", "_shared=part"]
)
def test_a_folder_of_fragments_that_is_chosen_is_refused_without_a_fix(here, text):
    write(here / "conf" / "_shared" / "part.yaml", "# What groups share\n\nflash_kb: 100\n")
    (said,) = problems(text)
    assert (said.where, said.fix, said.alternatives) == (text.lstrip("+").partition("=")[0], "", ())
    assert "is a folder of fragments" in said.what


@pytest.mark.slow
def test_a_wrong_option_is_never_taken_for_a_fragment(here):
    (problem,) = problems("target=ethos_u")
    assert problem.fix.startswith("target=ethos_u")
    assert "_ethos_u," not in problem.what
    head = "# @package _global_\ndefaults: [/builtin/digits_integer_only, {override /target: nothing}, _self_]\n"
    write(here / "recipes" / "mine.yaml", head)
    (problem,) = problems(name="mine")
    assert "generic" in problem.what
    assert "_ethos_u" not in problem.what.split()


@pytest.mark.slow
def test_a_sweep_over_all_options_has_no_fragments(here):
    swept = composition.prepare(
        "digits_integer_only", ["target=glob(*ethos_u85*,exclude=[*_1024,*_2048,*_256,*_512])"], sweep=True
    )
    assert [recipe.choices["target"] for recipe in swept.recipes] == ["ethos_u85_128"]
    swept = composition.prepare(
        "digits_float", ["evaluation=glob(*,exclude=[csv,images,npz,tfrecord,wav])"], sweep=True
    )
    assert [recipe.choices["evaluation"] for recipe in swept.recipes] == ["digits", "none"]


def test_classes_of_a_users_fragments_are_not_trusted_of_a_server(here):
    write(here / "conf" / "target" / "_ethos_u.yaml", "# Mine\n\n_target_: mine:Target\n")
    trust.own_targets.cache_clear()
    targets = trust.own_targets()["target"]
    assert targets == {catalog.option_values(path, [CONF])[TARGET] for path in GROUPS["target"].values()}
    assert not {"mine:Target", "???"} & targets
