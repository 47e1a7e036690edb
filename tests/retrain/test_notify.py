"""Who is told: a log always, a real receiver where there is one, and no result lost where there is none."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pipeline.core.errors import MienError
from pipeline.core.params import validated
from pipeline.core.retrain import Notify
from pipeline.retrain import notify, retrain
from pipeline.retrain.history import Record, Verdict
from pipeline.retrain.notify import LOG, tell, tell_record


class Receiver:
    """An HTTP server on a free port that keeps what it is sent and answers with `status`."""

    def __init__(self) -> None:
        self.status, self.got = 200, list[dict]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/SECRET"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.server.shutdown()
    one.server.server_close()


def verdict(track: str, promoted: bool) -> Verdict:
    return Verdict.undecided(track, promoted, "so it is")


RECORD = Record(kind="run", date="", commit="c" * 40, branch="retrain/x", arrived={"a": "1", "b": "2"})
RECORD = RECORD.model_copy(update={"verdicts": [verdict("va", True), verdict("au", False)]})


def test_a_run_is_told_to_log_and_webhook(workspace, monkeypatch, receiver, capsys):
    monkeypatch.setenv("MIEN_WEBHOOK", receiver.url)
    tell_record(Notify(), RECORD)
    assert [told["event"] for told in receiver.got] == ["promotion", "refusal", "end"]
    assert receiver.got[0]["text"] == "mien promotion: va: promoted: so it is"
    assert receiver.got[2]["text"].endswith("1 of 2 tracks have a new champion, 2 new files")
    assert receiver.got[0]["project"] == workspace.name
    lines = LOG.read_text().splitlines()
    assert len(lines) == 3 and lines[1].endswith("Z refusal au: refused: so it is")
    assert capsys.readouterr().err == ""


def test_what_is_not_named_is_logged_alone(workspace, monkeypatch, receiver):
    monkeypatch.setenv("HOOK", receiver.url)
    tell_record(Notify(of=["promotion"], webhook="HOOK"), RECORD)
    assert [told["event"] for told in receiver.got] == ["promotion"] and len(LOG.read_text().splitlines()) == 3


@pytest.mark.parametrize("status", [404, 500])
def test_a_receiver_that_refuses_costs_a_warning_without_its_address(workspace, monkeypatch, receiver, capsys, status):
    monkeypatch.setenv("MIEN_WEBHOOK", receiver.url)
    receiver.status = status
    tell(Notify(), "failure", "the disk is full")
    error = capsys.readouterr().err
    assert error == f"warning: the webhook of MIEN_WEBHOOK was not told (answered {status}); {LOG} has it\n"


def test_a_dead_receiver_costs_a_warning(workspace, monkeypatch, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MIEN_WEBHOOK", f"http://127.0.0.1:{port}/SECRET")
    tell(Notify(), "failure", "x at https://bob:pass@host/y")
    error = capsys.readouterr().err
    assert "not told (ConnectError)" in error and "SECRET" not in error
    assert "pass" not in LOG.read_text() and "https://host/y" in LOG.read_text()


def test_a_variable_that_is_named_and_not_set_is_told(workspace, monkeypatch, capsys):
    monkeypatch.delenv("MIEN_WEBHOOK", raising=False)
    tell(Notify(), "end", "x")
    assert capsys.readouterr().err == ""
    tell(Notify(webhook="HOOK_OF_MINE"), "end", "x")
    assert "the environment has no HOOK_OF_MINE" in capsys.readouterr().err


def test_an_address_in_params_is_refused():
    with pytest.raises(MienError, match=r"retrain\.notify\.webhook"):
        validated(Notify, {"webhook": "https://hooks.example.org/T0/B0"}, "retrain.notify")
    with pytest.raises(MienError, match=r"retrain\.notify\.of\.0"):
        validated(Notify, {"of": ["everything"]}, "retrain.notify")


def test_a_failure_is_told_and_raised(workspace, monkeypatch, receiver):
    monkeypatch.setenv("MIEN_WEBHOOK", receiver.url)
    monkeypatch.setattr(retrain, "succeeds", lambda *_: True)

    def fails(*_: object) -> int:
        raise MienError("a stage failed: no space")

    monkeypatch.setattr(retrain, "_one_run", fails)
    with pytest.raises(MienError, match="no space"):
        retrain.retrain(only_if_new=True)
    assert receiver.got[0]["event"] == "failure" and "no space" in receiver.got[0]["text"]


@pytest.mark.slow
def test_blocks_of_prefect(workspace, monkeypatch, receiver, capsys):
    """A block that Prefect's server keeps; a name that it does not know is a warning."""
    from prefect.blocks.webhook import Webhook
    from prefect.testing.utilities import prefect_test_harness
    from pydantic import SecretStr

    monkeypatch.delenv("MIEN_WEBHOOK", raising=False)
    with prefect_test_harness(server_startup_timeout=300):
        Webhook(url=SecretStr(receiver.url)).save("team")
        tell(Notify(block="webhook/team"), "end", "done")
        assert receiver.got == [{"text": "mien end: done", "event": "end", "project": workspace.name}]
        tell(Notify(block="webhook/nobody"), "end", "done")
    assert "Prefect's block webhook/nobody was not told" in capsys.readouterr().err


def test_long_messages_are_cut(workspace, monkeypatch, receiver):
    monkeypatch.setenv("MIEN_WEBHOOK", receiver.url)
    tell(Notify(), "set_aside", "x" * 9000)
    assert len(receiver.got[0]["text"]) == notify.TEXT_CHARACTERS
