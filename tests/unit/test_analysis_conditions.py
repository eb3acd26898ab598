"""Conditional parameters in importance and pictures: being inactive is no value."""

import random

from analysed import draw, run_view, table_of
from sweep.analysis.figures.prepare import prepare
from sweep.analysis.importance import importance
from sweep.analysis.table import SweepTable
from sweep.core.space import Categorical, Condition, Config, Numeric, Parameter, Space

SGD = (Condition(("optimizer",), ("sgd",)),)
SPACE = Space(
    (
        Parameter(("optimizer",), Categorical(("sgd", "adam"))),
        Parameter(("momentum",), Numeric(0.0, 1.0), when=SGD),
        Parameter(("noise",), Numeric(0.0, 1.0), when=SGD),
        Parameter(("only",), Categorical(("one",)), when=SGD),
    )
)


def table(objective: str) -> SweepTable:
    chance = random.Random(3)
    runs = []
    for number in range(1, 121):
        config = draw(SPACE, chance)
        runs.append(run_view(number, config, objective=_score(config, objective)))
    return table_of(runs, space=SPACE)


def _score(config: Config, objective: str) -> float:
    if objective == "optimizer":
        return 1.0 if config["optimizer"] == "sgd" else 0.0
    return abs(config["momentum"] - 0.4) if "momentum" in config else 0.3


def test_what_only_shows_that_another_was_chosen_has_no_importance() -> None:
    found = {row.parameter: row for row in importance(table("optimizer")).rows}
    assert set(found) == {"optimizer", "momentum", "noise"}
    assert found["optimizer"].importance > 0.9
    assert found["momentum"].importance < 0.05


def test_a_conditional_parameter_counts_where_it_is_active() -> None:
    found = importance(table("momentum"))
    assert found.rows[0].parameter == "momentum"
    assert found.rows[0].above_noise
    assert importance(table("momentum"), "ped-anova").rows


def test_slices_have_a_point_for_every_trial_with_the_parameter_only() -> None:
    made = table("momentum")
    pictures = prepare(made, importance(made))
    active = sum("momentum" in row.config for row in made.trials)
    points = {panel.axis.name: len(panel.points) for panel in pictures.slices.panels}
    assert points == {"optimizer": 120, "momentum": active, "noise": active}
    assert "without that parameter" in pictures.parallel.note
