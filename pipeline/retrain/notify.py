"""Who is told what of a retraining: a log always, and a webhook or a block of Prefect's where one is named.

A receiver that is away costs a warning and no result. The webhook's address is a secret more often than not, so params
name the environment variable that holds it, and no message of ours shows it.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx

from pipeline.core.retrain import Event, Notify
from pipeline.core.secrets import redacted
from pipeline.retrain.history import Record, now, verdict_line
from pipeline.run.delivery import warn
from pipeline.run.environment import STATE

LOG = STATE / "retrain" / "log"
PATIENCE_SECONDS = 10.0
TEXT_CHARACTERS = 3000  # what chat services take in one message


def tell(settings: Notify, event: Event, text: str) -> None:
    """Write an event into the log, and send it to whoever is named, where `settings.of` has it."""
    assert event in get_args(Event)
    text = redacted(text)
    _write(event, text)
    if event not in settings.of:
        return
    message = {"text": f"mien {event.replace('_', ' ')}: {text}"[:TEXT_CHARACTERS], "event": event}
    message["project"] = Path.cwd().name
    if address := _address(settings):
        _guarded(f"the webhook of {settings.webhook}", lambda: _post(address, message))
    if settings.block:
        _guarded(f"Prefect's block {settings.block}", lambda: _through_block(settings.block, message))


def tell_record(settings: Notify, record: Record) -> None:
    """What a finished run has to say: each promotion and refusal, and that it has ended."""
    for event, text in _events(record):
        tell(settings, event, text)


def _events(record: Record) -> Iterator[tuple[Event, str]]:
    for verdict in record.verdicts:
        yield "promotion" if verdict.promoted else "refusal", verdict_line(verdict)
    promoted = sum(verdict.promoted for verdict in record.verdicts)
    told = f"{promoted} of {len(record.verdicts)} tracks have a new champion, {len(record.arrived)} new files"
    yield "end", f"{record.branch} at {record.commit[:10]}: {told}"


def _write(event: str, text: str) -> None:
    try:
        LOG.parent.mkdir(parents=True, exist_ok=True)
        with LOG.open("a", encoding="utf-8") as file:
            file.write("".join(f"{now()} {event} {line}\n" for line in text.splitlines()))
    except OSError as error:
        warn(f"{LOG}: {error.strerror}; {event} is not logged")


def _address(settings: Notify) -> str:
    """The webhook's address; a warning where the user names a variable of their own and it is not set."""
    address = os.environ.get(settings.webhook, "")
    if not address and settings.webhook not in ("", Notify().webhook):
        warn(f"nobody is told: the environment has no {settings.webhook}, which retrain.notify.webhook names")
    return address


def _guarded(what: str, send: Any) -> None:
    """Send; whatever happens there is a warning. Its text may hold the address, so its kind stands for it."""
    try:
        send()
    except Exception as error:  # a network's, a server's, a block's own: none of them may cost a result
        kind = f"answered {error.response.status_code}" if isinstance(error, httpx.HTTPStatusError) else ""
        warn(f"{what} was not told ({kind or type(error).__name__}); {LOG} has it")


def _post(address: str, message: dict[str, str]) -> None:
    httpx.post(address, json=message, timeout=PATIENCE_SECONDS).raise_for_status()


def _through_block(name: str, message: dict[str, str]) -> None:
    """By a block as Prefect's server keeps it: `webhook/<name>`, or one that notifies, as `slack-webhook/<name>`."""
    from prefect.blocks.abstract import NotificationBlock
    from prefect.blocks.core import Block
    from prefect.blocks.notifications import SlackWebhook  # noqa: F401  which makes the kinds known
    from prefect.blocks.webhook import Webhook

    block: Any = Block.load(name)
    if isinstance(block, Webhook):
        asyncio.run(block.call(message)).raise_for_status()
    elif issubclass(type(block), NotificationBlock):
        with block.raise_on_failure():
            block.notify(message["text"], subject=f"mien: {message['event']}")
    else:
        raise TypeError(f"{name} is no webhook and does not notify")
