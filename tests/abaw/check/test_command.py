"""`mien check` exits as it should."""

import argparse
import json

from pipeline.abaw.check import command
from tests.abaw_fixture import lines, write


def mien(*arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser.add_subparsers(required=True))
    args = parser.parse_args([str(argument) for argument in arguments])
    return args.run(args)


def test_check_command(tmp_path, capsys):
    template = write(tmp_path / "t.txt", lines("image,expression", "0.jpg", "1.jpg"))
    file = write(tmp_path / "p.txt", lines("image,expression", "0.jpg,1", "1.jpg,5"))
    assert mien("check", file, "--template", template) == 0
    assert capsys.readouterr().out == f"{file}: conformant\n"
    assert mien("check", file) == 0
    assert "form only" in capsys.readouterr().out
    write(file, lines("image,expression", "0.jpg,1", "1.jpg,6"))
    assert mien("check", file, "--template", template, "--track", "lsd") == 1
    assert f"{file}, line 3: value 1 is '6'; expected an integer 0-5. Mend: " in capsys.readouterr().out
    assert mien("check", file, "--template", template, "--json") == 1
    assert json.loads(capsys.readouterr().out)["defects"][0]["line"] == 3
