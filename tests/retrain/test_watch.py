"""The inbox's watcher: a trigger for each new content, and a server that is away loses none."""

import pytest

from pipeline.core.errors import MienError
from pipeline.core.retrain import Retrain
from pipeline.retrain import serve as serving
from pipeline.retrain.serve import is_healthy, serve
from pipeline.retrain.watch import watch
from pipeline.run.once import alone

SETTINGS = Retrain(settle_seconds=0, look_seconds=1)


def test_a_trigger_for_each_new_content(workspace):
    inbox = workspace / SETTINGS.inbox
    inbox.mkdir(parents=True)
    told = []

    def happenings():
        yield 0  # looked at: empty
        (inbox / "1.txt").write_text("one")
        yield 0  # one trigger
        yield 0  # nothing has changed
        (inbox / "1.txt").write_text("other")
        (inbox / "2.txt.part").write_text("half")
        yield 0  # one trigger
        (inbox / "1.txt").unlink()
        yield 0  # what goes away is no reason

    watch(SETTINGS, lambda: told.append(1), happenings())
    assert len(told) == 2


def test_a_trigger_that_fails_is_tried_again(workspace, capsys):
    (workspace / SETTINGS.inbox).mkdir(parents=True)
    (workspace / SETTINGS.inbox / "1.txt").write_text("one")
    calls = []

    def trigger() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError("server away")

    watch(SETTINGS, trigger, iter([0, 0, 0]))
    assert len(calls) == 2 and "server away" in capsys.readouterr().err


def test_one_server_a_project(workspace, monkeypatch):
    monkeypatch.setattr(serving, "_server", lambda: pytest.fail("started"))
    with alone(serving.SERVING), pytest.raises(MienError, match="holds"):
        serve()
    assert not is_healthy("http://127.0.0.1:9/api")
