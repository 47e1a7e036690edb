"""`mien data ...`: the commands exit as they should."""

import argparse
import json

from pipeline.abaw.tracks import TRACKS
from pipeline.validate import commands
from tests.abaw_fixture import EXPR_TRAIN, lines, make_release, write


def mien(*arguments):
    parser = argparse.ArgumentParser()
    commands.add_arguments(parser.add_subparsers(required=True))
    args = parser.parse_args([str(argument) for argument in arguments])
    return args.run(args)


def test_commands(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = make_release(tmp_path / "loose")
    assert mien("data", "validate", root) == 0
    text = capsys.readouterr().out
    assert "1,102,504" in text and "rows would be predicted without a face" in text and "12.txt, line 3" in text
    assert mien("data", "validate", root, "--json") == 0
    assert json.loads(capsys.readouterr().out)["good"] is True
    assert mien("data", "summary", root, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 16
    assert mien("data", "import", root, "--name", "small") == 0
    assert "Next: dvc add data/raw/small" in capsys.readouterr().out
    assert mien("data", "validate", tmp_path / "data/raw/small") == 0
    write(root / "affwild2" / EXPR_TRAIN / "12.txt", lines(TRACKS["expr"].video_header, "9"))
    assert mien("data", "validate", root) == 1
