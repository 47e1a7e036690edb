"""What `mien init` makes of some data: the graph that they support, and a reason for each thing left out."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.abaw.tracks import TRAINED_TRACKS
from pipeline.core.errors import MienError
from pipeline.plan.command import init
from pipeline.plan.init import SIZES, Held, build, write_params
from pipeline.settings import load_params
from tests.abaw_fixture import make_release

ALL = frozenset(TRAINED_TRACKS)


def held(tracks: str, pool: bool = True) -> Held:
    names = frozenset(tracks.split())
    return Held(names, names, pool)


def test_all_of_it_gives_the_shipped_graph(root):
    plan = build(Held(ALL, ALL, pool=True))
    shipped = yaml.safe_load((root / "params.yaml").read_text())
    assert plan.left_out == []
    assert {name: set(members) for name, members in plan.members.items()} == {
        name: set(members) for name, members in shipped["ensemble"]["members"].items()
    }
    assert needs_of(plan.graph) == needs_of(shipped["graph"]) and plan.graph == shipped["graph"]


def needs_of(graph: dict) -> dict[str, set[str]]:
    """What each line needs beside its own faces, which fill its list up; taken from the lines."""
    return {
        name: set(line.pop("needs")) - {f"artifacts/faces/{line['faces']}"} for name, line in graph["trainings"].items()
    }


@given(
    labels=st.frozensets(st.sampled_from(TRAINED_TRACKS)),
    templates=st.frozensets(st.sampled_from(TRAINED_TRACKS), min_size=1),
    pool=st.booleans(),
    wanted=st.lists(st.sampled_from(TRAINED_TRACKS), unique=True),
)
def test_the_report_shows_what_is_made_and_no_more(labels, templates, pool, wanted):
    try:
        graph = build(Held(labels | templates, templates, pool), wanted).graph
    except MienError:
        return  # tracks were asked for of which there is nothing
    assert ("artifacts/mae" in graph["shown"]) == bool(graph["encoders"])
    assert ("artifacts/pseudo" in graph["shown"]) == bool(graph["au_teachers"] or graph["pool_labellers"])


@pytest.mark.parametrize(
    ("data", "trainings", "reasons"),
    [
        (held("va", pool=False), {"vit-va", "temporal-va"}, ["MAE pretraining: neither"]),
        (held("va"), {"vit-va", "temporal-va"}, ["half of MAE pretraining: extra alone"]),
        (
            held("lsd", pool=False),
            {"dan-lsd", "au_cvt-lsd", "multitask-lsd", "cotex-lsd"},
            ["half of MAE pretraining: lsd alone", "au_cvt's AU branch: no AU labels"],
        ),
        (
            held("expr", pool=False),
            {"dtm-expr", "vit-expr", "temporal-expr"},
            ["MAE pretraining: neither", "the pool of dtm and feedback: they train on labelled faces alone"],
        ),
        (held("expr"), {"dtm-expr", "vit-expr", "temporal-expr"}, ["half of MAE pretraining: extra alone"]),
        (
            held("expr au va mtl"),
            {"dtm-expr"}
            | {f"{system}-{track}" for system in ("vit", "temporal") for track in ("expr", "au", "va", "mtl")},
            ["half of MAE pretraining: extra alone", "emma: no LSD"],
        ),
        (
            held("au lsd", pool=False),
            {"vit-au", "temporal-au", "dan-lsd", "au_cvt-lsd", "multitask-lsd", "cotex-lsd"},
            ["half of MAE pretraining: lsd alone"],
        ),
    ],
)
def test_parts_of_it(data, trainings, reasons):
    plan = build(data)
    assert set(plan.graph["trainings"]) == trainings
    assert [any(told.startswith(reason) for told in plan.left_out) for reason in reasons] == [True] * len(reasons)
    assert len(plan.left_out) == len(reasons)


def test_nothing_is_made_that_nobody_reads():
    assert "mae" not in build(held("va")).graph["features"]
    assert build(held("au lsd"), ["au"]).graph["au_teachers"] == ["mae"]
    assert build(held("au lsd", pool=False), ["au"]).graph["au_teachers"] == []


OWN = ("feedback", "temporal")  # parts of their own, and passes that count windows


def test_without_faces_to_pretrain_on_no_network_asks_for_an_encoder(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    plan = build(held("expr", pool=False))
    assert plan.graph["encoders"] == {} and "artifacts/mae" not in str(plan.graph)
    write_params(plan, "data/raw/x", "x", "laptop", tmp_path / "p.yaml")
    systems = load_params(tmp_path / "p.yaml").systems
    backbones = systems["feedback"].spatial.backbone, systems["vit"].backbone  # type: ignore[attr-defined]
    assert [backbone.name for backbone in backbones] == ["face_resnet", "face_resnet"]


def test_a_budget_follows_the_data_but_in_the_size_of_the_demo(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    passes = {}
    for size in SIZES:
        write_params(build(held("expr lsd")), "data/raw/x", "x", size, tmp_path / "p.yaml")
        params = load_params(tmp_path / "p.yaml")
        systems = [settings.train for name, settings in params.systems.items() if name not in OWN]  # type: ignore[attr-defined]
        passes[size] = {train.optimise.passes for train in systems} | {params.pretrain_mae.optimise.passes}
        assert params.systems["au_cvt"].au_labels == "none"  # type: ignore[attr-defined]
    assert passes == {"laptop": {10.0}, "demo": {0.0}, "gpu": {0.0}}


def test_tracks_may_be_asked_for():
    plan = build(Held(ALL, ALL, pool=True), ["va", "expr"])
    assert plan.graph["tracks"] == ["expr", "va"] and plan.graph["au_teachers"] == []
    assert set(plan.graph["trainings"]) == {"dtm-expr", "vit-expr", "temporal-expr", "vit-va", "temporal-va"}
    with pytest.raises(MienError, match="nothing can be trained and submitted: MTL: neither labels nor a template"):
        build(held("va"), ["mtl"])


def test_a_track_without_its_template_or_labels_is_told():
    data = Held(frozenset(["expr", "va"]), frozenset(["va", "au"]), pool=False)
    plan = build(data)
    assert plan.graph["tracks"] == ["va"]
    assert any(told.startswith("EXPR: labels and no template") for told in plan.left_out)
    assert any(told.startswith("AU: a template and no labels") for told in plan.left_out)
    with pytest.raises(MienError, match="no labels and no template of any track"):
        build(Held(frozenset(), frozenset(), pool=True))


tracks = st.frozensets(st.sampled_from(TRAINED_TRACKS), min_size=1)


@settings(max_examples=30, deadline=None)
@given(tracks, tracks, st.booleans(), st.sampled_from(sorted(SIZES)))
def test_what_is_written_is_valid_and_reads_what_is_made(root, tmp_path_factory, labels, templates, pool, size):
    """Every path that a line names is an output of the graph, or faces of a data set that is there."""
    data = Held(labels, templates, pool)
    if not labels & templates:
        return
    plan = build(data)
    target = tmp_path_factory.mktemp("params") / "params.yaml"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_params(plan, "data/raw/mine", "mine", size, target)
    params = load_params(target)
    graph, made = params.graph, set()
    made |= {f"artifacts/{name}" for name in graph.encoders}
    made |= {f"artifacts/features/{name}" for name in graph.features}
    made |= {"artifacts/pseudo/au"} if graph.au_teachers else set()
    made |= {f"artifacts/systems/{line.track}/{line.member}" for line in graph.trainings.values()}
    datasets = {"lsd"} if "lsd" in labels else set()
    datasets |= {"extra"} if pool else set()
    datasets |= {"s-aff-wild2"} if "mtl" in labels else set()
    datasets |= {"aff-wild2"} if labels & {"expr", "au", "va"} else set()
    made |= {f"artifacts/faces/{dataset}" for dataset in datasets}
    for line in graph.trainings.values():
        for path in line.needs:
            assert any(Path(path).is_relative_to(out) for out in made), (path, made)
    for name in graph.features:
        assert set(params.cache_features.backbones[name].datasets) <= datasets
    for folders in graph.encoders.values():
        assert set(folders) <= made


def test_comments_stay(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    write_params(build(held("va")), "data/raw/x", "x", "demo", tmp_path / "p.yaml")
    text = (tmp_path / "p.yaml").read_text()
    assert "# side of the square that an SCRFD detector sees" in text and "# scikit-learn's C" in text


def test_the_command_says_what_and_why(workspace, root, capsys):
    (workspace / "params").mkdir()
    (workspace / "params/affwild2.yaml").write_bytes((root / "params/affwild2.yaml").read_bytes())
    make_release(workspace / "data/raw/mine")
    assert init(Path("data/raw/mine"), [], "demo", Path("mine.yaml")) == 0
    told = capsys.readouterr().out
    assert told.startswith("mine.yaml: tracks ") and "vit-va" in told and told.endswith("then make repro\n")
    assert load_params(Path("mine.yaml")).data.root == "data/raw/mine"
    with pytest.raises(MienError, match="there is no track emotion"):
        init(Path("data/raw/mine"), ["emotion"], "demo", Path("mine.yaml"))
    with pytest.raises(MienError, match="lies outside of the project; `mien data import"):
        init(workspace.parent, [], "demo", Path("mine.yaml"))
    with pytest.raises(MienError, match="no such folder"):
        init(Path("data/raw/nowhere"), [], "demo", Path("mine.yaml"))
