"""The table over budgets of pretraining."""

from bench.mae_curve import rows


def point(updates: int, seed: int, frozen: float, tuned: float) -> dict:
    readouts = {"frozen, lsd": frozen, "tuned, lsd": tuned}
    return {"updates": updates, "seed": seed} | {
        name: {"validation": score, "hidden": score / 2} for name, score in readouts.items()
    }


def test_a_budget_has_a_row_for_each_readout_with_the_mean_over_seeds():
    table = rows([point(240, 0, 0.4, 0.6), point(0, 0, 0.2, 0.3), point(240, 1, 0.6, 0.6), point(0, 1, 0.2, 0.5)])
    assert [(row["updates"], row["readout"]) for row in table] == [
        (0, "frozen, lsd"),
        (0, "tuned, lsd"),
        (240, "frozen, lsd"),
        (240, "tuned, lsd"),
    ]
    assert table[2]["validation"] == [0.4, 0.6] and table[2]["validation_mean"] == 0.5
    assert table[1]["hidden"] == [0.15, 0.25] and table[1]["hidden_mean"] == 0.2
