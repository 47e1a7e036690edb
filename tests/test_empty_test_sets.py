"""Test sets without a face, and lists of a header alone, still give their submissions."""

import json

import numpy as np
import pytest

from pipeline.abaw.check.check import check_file
from pipeline.abaw.tracks import TRACKS
from pipeline.faces.media import read_frames
from pipeline.release.discover import find_release
from pipeline.tables.manifest import Manifest
from tests.clones import commit, make_clone, make_rendered, once, repro, run_in
from tests.faces.pictures import write_video
from tests.test_partial_releases import cut, make_tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1600)]  # while another makes the audit's clone


def test_test_sets_without_a_face_or_a_row_are_submitted(tmp_path, tmp_path_factory):
    clone = make_clone(tmp_path / "clone")
    release = clone / "data/raw/mine"
    cut(once(tmp_path_factory, "rendered", make_rendered) / "data/raw/demo", release, {"va", "mtl", "lsd"}, pool=False)
    found = find_release(release)
    tested = set(Manifest(found).template("va")["base_video"].to_pylist())
    for path in (found.videos[video] for video in tested):
        frames = [np.full((96, 128, 3), 90, np.uint8) for _ in read_frames(release / path)]
        write_video(release / path.with_suffix(".avi"), frames)
        (release / path).unlink()
    for track in ("mtl", "lsd"):
        for path in found.templates[track]:
            (release / path).write_text(TRACKS[track].header + "\n")
    run_in(clone, "mien", "init", "data/raw/mine")
    make_tiny(clone / "params.yaml")
    commit(clone)
    repro(clone)
    for track in ("va", "mtl", "lsd"):
        path = clone / f"submissions/{track}/predictions.txt"
        template = clone / f"artifacts/manifest/templates/{track}.txt"
        assert check_file(path, template) == []
        rows = path.read_text().splitlines()[1:]
        filled = json.loads(path.with_name("filled.json").read_text())
        assert len(rows) == filled["rows"] == filled["filled"] == len(filled["images"])
        assert bool(rows) == (track == "va") and all(row.endswith(",0.0000,0.0000") for row in rows)
