"""What the README and the full-size params say of published weights is so."""

import re
import shlex
from pathlib import Path

import yaml

from pipeline.backbones.build import BackboneSettings
from pipeline.cli import parser
from pipeline.core.params import validated
from pipeline.settings import load_params


def test_the_readmes_commands_are_taken_and_its_backbone_is_what_they_write(root):
    readme = (root / "README.md").read_text()
    lines = re.findall(r"^\.venv/bin/mien (weights add .+)$", readme, re.MULTILINE)
    commands = [parser().parse_args(shlex.split(line)) for line in lines]
    assert [args.file.suffix for args in commands] == [".pth", ".safetensors"]
    assert all(args.source and args.licence and args.trained_on for args in commands)
    (block,) = [part for part in readme.split("```") if part.startswith("yaml") and "weights/" in part]
    settings = validated(BackboneSettings, yaml.safe_load(block[4:])["systems"]["emma"]["backbone"])
    assert Path(settings.weights or "").stem == commands[0].name


def test_every_file_of_the_full_size_params_is_told_of(root):
    path = root / "params/affwild2.yaml"
    load_params(path)
    text = path.read_text()
    used = set(re.findall(r"^[^#\n]*weights/([\w.]+)\.safetensors", text, re.MULTILINE))
    told = set(re.findall(r"^#   --name (\w+) ", text, re.MULTILINE))
    assert used == told and len(told) == 4
