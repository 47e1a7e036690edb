"""What the report says: numbers and pictures read from the artifacts."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from pipeline.abaw.resample import group_codes
from pipeline.abaw.tracks import AUS, TRACKS
from pipeline.core.parquet import read_parquet
from pipeline.core.paths import ABLATIONS, ENCODER, ENSEMBLE, FAILURES, LABELS, MANIFEST, PSEUDO, SUBMISSIONS, SYSTEMS
from pipeline.faces.crops import Crops
from pipeline.report import figures
from pipeline.tables.curves import read_curve
from pipeline.tables.fitted import read_fitted, thresholds_of
from pipeline.tables.join import align, find_rows
from pipeline.tables.scores import Tasks, decide, read_predictions, task_arrays

# Validation scores of the organisers' own baselines on the real data (sites of editions 7, 8 and 11); LSD's was not
# published.
OFFICIAL = {"expr": 0.25, "au": 0.39, "va": 0.22, "mtl": 0.45, "lsd": None}
METRIC = {
    "expr": "mean F1 of 8 expressions",
    "au": "mean F1 of 12 action units",
    "va": "mean CCC of valence and arousal",
    "mtl": "VA + EXPR + AU, at most 3",
    "lsd": "mean F1 of 6 expressions",
}
STRIP = 10
Lines = dict[str, tuple[Sequence[float], Sequence[float]]]


class TrackPage:
    """One track's validation predictions and labels."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.metrics = json.loads((ENSEMBLE / name / "metrics.json").read_text())
        self.members, self.fitted = read_fitted(ENSEMBLE / name / "fitted.json")
        path = ENSEMBLE / name / "validation.parquet"
        self.axis, self.scores, self.found = read_predictions(path, name)
        table = read_parquet(LABELS / f"{name}.parquet")
        truth = table.filter(pc.equal(table["split"], "validation"))
        self.labels = task_arrays(name, truth.take(align(self.axis, truth, str(path))))
        self.decided: Tasks = decide(self.scores, thresholds_of(self.fitted))

    def summary(self) -> dict[str, Any]:
        """The row of the score table."""
        filled = json.loads((SUBMISSIONS / self.name / "filled.json").read_text())
        low, high = self.metrics["interval_95"]
        return {
            "name": self.name.upper(),
            "metric": METRIC[self.name],
            "score": self.metrics["score"],
            "low": low,
            "high": high,
            "tuned": self.metrics["tuned_score"],
            "optimism": self.metrics["optimism"],
            "constant": self.metrics["baselines"]["constant"],
            "chance": self.metrics["baselines"]["chance"],
            "official": OFFICIAL[self.name],
            "chosen": self.metrics["chosen"],
            "mixed": self.metrics["mixed"],
            "gain": self.metrics["gain_over_best_member"],
            "thresholds": self._au_thresholds(),
            "rows": filled["rows"],
            "filled": filled["filled"],
            "warnings": self.warnings(),
        }

    def member_rows(self) -> list[dict[str, Any]]:
        """Each member: its score alone, its weight for each task, and what the mix gains by it."""
        return [
            {
                "name": name,
                "alone": self.metrics["members"][name],
                "weights": {task: how.weights[number] for task, how in self.fitted.items()},
                "adds": self.metrics["adds"].get(name),
                "unused": not any(how.weights[number] for how in self.fitted.values()),
            }
            for number, name in enumerate(self.members)
        ]

    def _au_thresholds(self) -> dict[str, float]:
        fitted = self.fitted.get("aus")
        return dict(zip(AUS, fitted.au_thresholds, strict=True)) if fitted else {}

    def warnings(self) -> list[str]:
        """Trainings that have learnt nothing, and what others did without."""
        told = []
        for path in sorted((SYSTEMS / self.name).glob("[!.]*/metrics.json")):
            metrics = json.loads(path.read_text())
            if not metrics["leaves_baselines"]:
                told.append(f"{path.parent.name} is no better than a constant or chance")
            told += [f"{path.parent.name} does without {lack}" for lack in metrics.get("without", [])]
        return told

    def pictures(self) -> list[str]:
        """Confusion matrix, per-class F1 and density, as far as the track has the task."""
        made = []
        inner = self.metrics["inner"]
        if "expression" in self.scores:
            names = TRACKS[self.name].classes
            made.append(figures.confusion(self.labels["expression"], self.decided["expression"], names))
            made.append(figures.bars(names, _f1(inner, "expr"), "F1 of each expression (inner folds)"))
        if "aus" in self.scores:
            made.append(figures.bars(AUS, _f1(inner, "au"), "F1 of each action unit (inner folds)"))
        if "va" in self.scores:
            made.append(figures.density(self.labels["va"], self.decided["va"], ("valence", "arousal")))
        return made


def _f1(inner: dict[str, Any], task: str) -> list[float]:
    return (inner if "f1_per_class" in inner else inner[task])["f1_per_class"]


def _series(rows: list[dict[str, float]], key: str) -> tuple[list[float], list[float]]:
    kept = [row for row in rows if key in row]
    return [row["step"] for row in kept], [row[key] for row in kept]


def training_pictures(tracks: list[str], shown: Sequence[Path]) -> list[tuple[str, str]]:
    """Titles and figures: the pretraining loss, each track's validation score, the thresholds of its pseudo-labels."""
    pictures = []
    if ENCODER in shown:
        encoder: Lines = {"loss": _series(read_curve(ENCODER / "curve.csv"), "loss")}
        pictures.append(("MAE pretraining: reconstruction loss", figures.curves(encoder, "loss")))
    for track in tracks:
        lines: Lines = {
            path.parent.name: _series(read_curve(path), "score")
            for path in sorted((SYSTEMS / track).glob("[!.]*/curve.csv"))
        }
        pictures.append((f"{track.upper()}: validation score while training", figures.curves(lines, "score")))
    for path in sorted(PSEUDO.glob("[!.]*/thresholds.csv")) if PSEUDO in shown else ():
        history = read_curve(path)
        lines = {name: _series(history, name) for name in (history[0] if history else ()) if name != "step"}
        title = f"Pseudo-labels of {path.parent.name.upper()}: each class's threshold"
        pictures.append((title, figures.curves(lines, "threshold")))
    return pictures


class Strips:
    """Validation crops of a track with label and decision."""

    def __init__(self, track: TrackPage) -> None:
        self._track = track
        self._crops = Crops(TRACKS[track.name].dataset)
        self._places = find_rows(self._crops.table, track.axis)
        self._shown = np.flatnonzero((self._places >= 0) & (track.labels["expression"] >= 0))

    def even(self) -> list[dict[str, str]]:
        """Evenly spaced."""
        rows = self._shown
        return self._strip(rows[np.linspace(0, len(rows) - 1, min(STRIP, len(rows))).astype(int)])

    def worst(self) -> list[dict[str, str]]:
        """The surest errors: where the decision's score is furthest above the label's, one a video or folder."""
        scores, labels = self._track.scores["expression"], self._track.labels["expression"]
        rows = self._shown
        excess = scores[rows].max(axis=1) - scores[rows, labels[rows]]
        ranked = rows[np.argsort(-excess, kind="stable")][: np.count_nonzero(excess > 0)]
        videos = self._track.axis["video"].to_numpy()[ranked]
        first = np.sort(np.unique(videos, return_index=True)[1])
        return self._strip(ranked[first[:STRIP]])

    def _strip(self, rows: np.ndarray) -> list[dict[str, str]]:
        names, strip = TRACKS[self._track.name].classes, []
        for row in rows:
            label, guess = (int(of["expression"][row]) for of in (self._track.labels, self._track.decided))
            strip.append(
                {
                    "jpeg": base64.b64encode(self._crops.jpeg(int(self._places[row]))).decode(),
                    "label": names[label],
                    "guess": names[guess],
                    "right": "right" if label == guess else "wrong",
                    "place": f"{self._track.axis['video'][row]} {self._track.axis['frame'][row]}",
                }
            )
        return strip


def video_timeline(expr: TrackPage | None, va: TrackPage | None) -> tuple[str, str] | None:
    """The validation video with the most expressions, over its frames."""
    tracks = [track for track in (expr, va) if track]
    if not tracks:
        return None
    video = _liveliest(tracks[0])
    first = tracks[0].axis.filter(pc.equal(tracks[0].axis["video"], video)).sort_by("frame")
    frames = first["frame"].to_numpy()
    parts: dict[str, Any] = dict.fromkeys(("expression", "expression_labels", "va", "va_labels"))
    for track in tracks:
        rows = find_rows(track.axis, first)
        if (rows >= 0).all():
            for task in track.scores:
                parts |= {task: track.scores[task][rows], f"{task}_labels": track.labels[task][rows]}
    found = tracks[0].found[find_rows(tracks[0].axis, first)]
    return video, figures.timeline(frames=frames, names=TRACKS["expr"].classes, found=found, **parts)


def _liveliest(track: TrackPage) -> str:
    """The first by name of the videos with the most expressions; without expressions the first of all."""
    names, codes = group_codes(track.axis["video"].to_numpy())
    if "expression" not in track.labels:
        return str(track.axis["video"][0])
    labels = track.labels["expression"].astype(np.int64) + 1  # invalid ones have their own
    seen = np.zeros((len(names), labels.max(initial=0) + 1), bool)
    seen[codes, labels] = True
    return str(names[seen.sum(axis=1).argmax()])


def data_facts(shown: Sequence[Path]) -> dict[str, Any]:
    """The data card, the failures and what the teachers said."""
    failures = read_parquet(FAILURES).to_pylist()
    told = sorted(PSEUDO.glob("[!.]*/metrics.json")) if PSEUDO in shown else []
    teachers = {path.parent.name: json.loads(path.read_text()) for path in told}
    return {"card": json.loads((MANIFEST / "card.json").read_text()), "failures": failures, "teachers": teachers}


def scores_of(tracks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each track's score with its interval and what is submitted, from the rows of the score table."""
    return {
        row["name"].lower(): {name: round(row[name], 4) for name in ("score", "low", "high")}
        | {"submitted": row["chosen"]}
        for row in tracks
    }


def read_ablations() -> dict[str, list[Any]]:
    """What `make ablate` found: each idea with and without, trained systems beside controls, scores over updates."""
    found = json.loads(ABLATIONS.read_text())
    return {
        "ablations": found["comparisons"],
        "controls": found.get("controls", []),
        "over_updates": [(curve["name"], _over_updates(curve)) for curve in found.get("over_updates", [])],
    }


def _over_updates(curve: dict[str, Any]) -> str:
    """A system's score at several budgets, and the level of its frozen controls, which have none."""
    ends = [min(curve["updates"]), max(curve["updates"])]
    levels: Lines = {name: (ends, [score, score]) for name, score in curve["controls"].items()}
    lines: Lines = {curve["name"]: (curve["updates"], curve["scores"]), **levels}
    return figures.curves(lines, f"{curve['track'].upper()}, hidden test score", "updates")


def _picture(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def gather(tracks: list[str], shown: Sequence[Path]) -> dict[str, Any]:
    """Everything that the page shows; `shown` are the folders that it tells of beside scores."""
    by_name = {name: TrackPage(name) for name in tracks}
    strips = {name.upper(): Strips(track) for name, track in by_name.items() if "expression" in track.scores}
    return {
        "tracks": [track.summary() for track in by_name.values()],
        "pictures": {name.upper(): track.pictures() for name, track in by_name.items()},
        "training": training_pictures(tracks, shown),
        "strips": {name: {"even": strip.even(), "worst": strip.worst()} for name, strip in strips.items()},
        "members": {name.upper(): track.member_rows() for name, track in by_name.items()},
        "timeline": video_timeline(by_name.get("expr"), by_name.get("va")),
        "reconstruction": _picture(ENCODER / "reconstruction.png") if ENCODER in shown else "",
        **read_ablations(),
        **data_facts(shown),
    }
