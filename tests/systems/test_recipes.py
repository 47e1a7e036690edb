"""Every system of the graph trains, goes on after a kill, and reads nothing that its line does not name."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from bench.jobs import build_system, recipe
from pipeline.abaw.tracks import TRACKS
from pipeline.core.code import ROOT
from pipeline.core.errors import MienError
from pipeline.core.paths import ENCODER, SYSTEMS
from pipeline.train.fit import fit, seed_weights
from tests.mini import changed, weights_of
from tests.train.toys import Killed, killed_at

TRAININGS = yaml.safe_load((ROOT / "params.yaml").read_text())["graph"]["trainings"]


# --- what the graph must know ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "track", "change", "left_out"),
    [
        ("vit", "va", {}, "artifacts/mae"),
        ("cotex", "lsd", {}, "artifacts/mae"),
        ("multitask", "lsd", {}, "artifacts/mae"),
        ("multitask", "lsd", {}, "artifacts/features/mae/lsd"),
        ("emma", "mtl", {}, "artifacts/mae"),
        ("emma", "mtl", {}, "artifacts/systems/lsd/dan"),
        ("au_cvt", "lsd", {}, "artifacts/pseudo/au/lsd.parquet"),
        ("au_cvt", "lsd", {"au_labels": "real"}, "artifacts/faces/aff-wild2"),
        ("au_cvt", "lsd", {"au_labels": "real"}, "artifacts/manifest/labels/au.parquet"),
        ("au_cvt", "lsd", {"au_labels": "data/raw/openface.csv"}, "data/raw/openface.csv"),
    ],
)
def test_a_system_reads_nothing_that_its_line_does_not_name(mini, tiny, system, track, change, left_out):
    """Else the lock would not tell what the training has seen."""
    given = [Path(path) for path in ("artifacts/mae", "artifacts/features/mae/lsd", "artifacts/systems/lsd/dan")]
    given += [Path("artifacts/faces/extra"), Path("artifacts/faces/aff-wild2"), Path("artifacts/manifest/labels")]
    given += [Path("artifacts/manifest/labels/au.parquet"), Path("artifacts/pseudo/au/lsd.parquet")]
    needs = [path for path in given if not path.is_relative_to(left_out) and not Path(left_out).is_relative_to(path)]
    params = changed(tiny, system, **change) if change else tiny
    with pytest.raises(MienError, match=rf"params\.yaml: graph\.trainings\.x: add {left_out}\S* to needs: "):
        recipe(system, track, params, needs)


# --- recipes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "track", "needs"),
    [
        *((line["system"], line["track"], line["needs"]) for line in TRAININGS.values()),
        ("feedback", "expr", ["artifacts/faces/extra"]),
    ],
    ids=[*TRAININGS, "feedback-expr"],
)
def test_every_system_of_the_graph_trains(mini, tiny, tmp_path, system, track, needs):
    seed_weights(tiny.finetune)
    made = recipe(system, track, tiny, [Path(path) for path in needs])  # what its line names, and nothing else
    start = weights_of(made.module)
    rarely = tiny.finetune.model_copy(update={"checkpoint_seconds": 1e9})
    module, training = fit(system, made, rarely, tmp_path, lambda metrics, step: None)
    losses = [row for row in training.history if "loss" in row]
    assert [row["step"] for row in losses] == [0, 5]
    assert all(np.isfinite(value) for row in losses for value in row.values())
    assert [row["step"] for row in training.history if "score" in row] == [3, 6]
    assert any(not torch.equal(tensor, start[name]) for name, tensor in module.named_parameters())
    axis = made.data.validation
    scores = made.scores(module, axis)
    assert set(scores) == set(TRACKS[track].tasks)
    assert (~axis.present).sum() == (0 if track == "lsd" else 1)
    for values in scores.values():
        assert np.array_equal(np.isnan(values).all(axis=1), ~axis.present) and len(values) == 6


@pytest.mark.slow
@pytest.mark.parametrize(("system", "track"), [("feedback", "expr"), ("dtm", "expr"), ("emma", "mtl")])
def test_a_killed_system_ends_in_the_same_bits(mini, tiny, tmp_path, system, track):
    """Steps and thresholds are buffers, the head with a rate of its own has its own moments: all are resumed."""

    def run(folder: Path, death: int | None = None) -> tuple[dict[str, Tensor], list]:
        seed_weights(tiny.finetune)
        made = recipe(system, track, tiny)
        made.batches = killed_at(death, made.batches)
        module, training = fit(system, made, tiny.finetune, folder, lambda metrics, step: None)
        return module.state_dict(), training.history

    expected, history = run(tmp_path / "a")
    with pytest.raises(Killed):
        run(tmp_path / "b", death=4)
    found, resumed = run(tmp_path / "b")
    assert resumed == history
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


def test_pretrained_parts_are_in_place(mini, tiny):
    """What was loaded: the encoder in every backbone, the DAN of LSD in EMMA."""
    encoder, dan = load_file(ENCODER / "encoder.safetensors"), load_file(SYSTEMS / "lsd/dan/weights.safetensors")
    name = "patch_embed.proj.weight"
    emma, cotex, multitask, vit = (
        cast(Any, build_system(system, track, tiny))
        for system, track in (("emma", "mtl"), ("cotex", "lsd"), ("multitask", "lsd"), ("vit", "au"))
    )
    parts = [emma.encoder, *(view.encoder for view in cotex.views)]
    parts += [multitask.networks[0].backbone.network.encoder, vit.backbone.network.encoder]
    assert all(torch.equal(part.state_dict()[name], encoder[name]) for part in parts)
    assert all(torch.equal(tensor, dan[f"net.{key}"]) for key, tensor in emma.cnn.state_dict().items())
    fresh: Any = build_system("emma", "mtl", tiny, pretrained=False)
    assert not torch.equal(fresh.encoder.state_dict()[name], encoder[name])
