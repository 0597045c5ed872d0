"""A resolved recipe is unfolded into a tree of options, one for each section that carries its class."""

from __future__ import annotations

import yaml

from tflite_recipes.config.resolved_recipe import AS_RESOLVED, is_resolved, is_whole, unfold

CONTENT = {
    "defaults": [
        "/base",
        {"override /source": "keras"},
        {"override /calibration": "none"},
        {"/my/group": "mine"},
        {"/mine": "b"},
        "_self_",
    ],
    "name": "x",
    "steps": ["source"],
    "source": {"_target_": "a.B", "path": "m.keras"},
    "mine": {"_target_": "my.Step", "n": 1},
    "worker": {"timeout_s": None},
}


def test_only_a_recipe_whose_sections_carry_their_classes_is_resolved():
    assert is_resolved(CONTENT)
    assert not is_resolved({"defaults": ["/base"], "source": {"path": "m.keras"}})
    assert not is_resolved({key: value for key, value in CONTENT.items() if key != "defaults"})


def test_sections_become_options_and_the_rest_stays(tmp_path):
    recorded = unfold(tmp_path / "from" / "x.yaml", CONTENT, tmp_path)
    assert recorded == {"source": "keras", "mine": "b"}
    written = {
        path.relative_to(tmp_path).as_posix(): yaml.safe_load(path.read_text()) for path in tmp_path.rglob("*.yaml")
    }
    assert written == {
        f"source/{AS_RESOLVED}.yaml": {"_target_": "a.B", "path": "m.keras"},
        f"mine/{AS_RESOLVED}.yaml": {"_target_": "my.Step", "n": 1},
        "x.yaml": {
            "defaults": [
                "/base",
                {"override /source": AS_RESOLVED},
                {"override /calibration": "none"},
                {"/my/group": "mine"},
                {"/mine": AS_RESOLVED},
                "_self_",
            ],
            "name": "x",
            "steps": ["source"],
            "worker": {"timeout_s": None},
        },
    }


def test_what_was_given_is_left_as_it_is(tmp_path):
    before = yaml.safe_dump(CONTENT)
    unfold(tmp_path / "x.yaml", CONTENT, tmp_path)
    assert yaml.safe_dump(CONTENT) == before


def test_only_what_was_written_down_whole_is_known_to_lack_what_it_does_not_mention(tmp_path):
    groups = ["source", "calibration", "later"]
    assert is_whole(CONTENT)
    unfold(tmp_path / "x.yaml", CONTENT, tmp_path, groups)
    written = yaml.safe_load((tmp_path / "x.yaml").read_text())["defaults"]
    assert written[-2:] == [{"override /later": None}, "_self_"]
    assert len(written) == len(CONTENT["defaults"]) + 1
    for lacking in ("steps", "worker", "name", "source"):
        by_hand = {key: value for key, value in CONTENT.items() if key != lacking}
        assert not is_whole(by_hand)
        unfold(tmp_path / "x.yaml", by_hand, tmp_path, groups)
        written = yaml.safe_load((tmp_path / "x.yaml").read_text())["defaults"]
        assert len(written) == len(CONTENT["defaults"])
    assert not is_whole({**CONTENT, "defaults": ["convert", "_self_"]})
