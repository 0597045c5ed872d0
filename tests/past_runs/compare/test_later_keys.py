"""Params of past runs for the keys that came after them."""

from __future__ import annotations

from dataclasses import dataclass, field

import yaml
from support.past_run_records import past_run

from tflite_recipes.past_runs.compare.later_keys import with_later_keys

FREEZE = {"_target_": "tflite_recipes.steps.freeze.Freeze", "variables": "keep"}
OLD = {"freeze": "saved_model", "freeze.variables": "keep"}
NEW = {**OLD, "freeze.lstm": "exact"}


@dataclass
class Server:
    """The artifacts `recipe.yaml` by run, and which of them were read."""

    recipes: dict[str, str]
    read: list[str] = field(default_factory=list)

    def text(self, run, path):
        assert path == "recipe.yaml"
        self.read.append(run.run_id)
        return self.recipes.get(run.run_id)


def test_key_that_came_later_has_the_value_of_runs_without_it():
    old, new = past_run(1, params=OLD), past_run(2, params=NEW)
    server = Server({old.run_id: yaml.safe_dump({"defaults": ["/base"], "freeze": FREEZE})})
    completed = with_later_keys(server, (old, new))
    assert completed[0].params["freeze.lstm"] == "fused"
    assert completed[0].params["freeze.variables"] == "keep"
    assert completed[1] == new
    assert server.read == [old.run_id]


def test_recipes_are_read_only_where_runs_with_the_same_option_have_more_keys():
    other = past_run(2, params={"freeze": "mine", "freeze.variables": "keep", "freeze.lstm": "exact"})
    server = Server({})
    runs = (past_run(1, params=OLD), other)
    assert with_later_keys(server, runs) == runs
    assert server.read == []


def test_run_without_a_recipe_keeps_its_params():
    runs = (past_run(1, params=OLD), past_run(2, params=NEW))
    assert with_later_keys(Server({}), runs) == runs
