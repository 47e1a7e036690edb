"""`mien serve`: a Prefect server, the retraining flow on its schedule, and a watcher of the inbox; until Ctrl-C.

One run at a time: the runner has one place, and the runs themselves hold a lock, so a second trigger waits, finds what
the first has left, and ends.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx

from pipeline.core.errors import MienError
from pipeline.core.params import read_section
from pipeline.core.retrain import Retrain
from pipeline.core.secrets import redacted
from pipeline.retrain.watch import watch
from pipeline.run.command import run_main
from pipeline.run.environment import STATE, require_prefect_home
from pipeline.run.once import alone
from pipeline.run.supervise import end_tree

SERVING = STATE / "retrain" / "serve.lock"
DEPLOYMENT = "inbox"
OWN_SERVER = "http://127.0.0.1:PORT/api"
START_SECONDS = 180.0


def serve() -> None:
    """Serve until ended. A server named by `PREFECT_API_URL`, or one that listens already, is used as it is."""
    settings = read_section("retrain", Retrain)
    with alone(SERVING, wait=False), _server():
        from pipeline.retrain.flow import retrain_flow  # Prefect reads the server's address when it is imported

        threading.Thread(target=watch, args=(settings, _trigger), daemon=True).start()
        print(f"watching {settings.inbox}; scheduled {settings.cron!r}; Ctrl-C ends it", flush=True)
        retrain_flow.serve(name=DEPLOYMENT, cron=settings.cron, limit=1, print_starting_message=False)


def _trigger() -> None:
    """Ask for a run; the first look may come before Prefect's server knows the deployment."""
    from prefect.deployments import run_deployment
    from prefect.exceptions import ObjectNotFound

    for _ in range(int(START_SECONDS)):
        with contextlib.suppress(ObjectNotFound):
            run_deployment(f"mien-retrain/{DEPLOYMENT}", timeout=0, as_subflow=False)
            return
        time.sleep(1)
    raise MienError("Prefect's server does not know the deployment")


@contextlib.contextmanager
def _server() -> Iterator[None]:
    """A Prefect server for as long as the block lasts, unless there is one."""
    require_prefect_home()
    if named := os.environ.get("PREFECT_API_URL"):
        require_server(named)
        yield
        return
    port = os.environ.get("PREFECT_SERVER_API_PORT", "4200")
    address = os.environ["PREFECT_API_URL"] = OWN_SERVER.replace("PORT", port)
    if is_healthy(address):
        yield
        return
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(process, address)
        print(f"Prefect's page: {address.rpartition('/')[0]}", flush=True)
        yield
    finally:
        end_tree(process.pid)


def require_server(address: str) -> None:
    """Refuse a server that the user names and that does not answer."""
    try:
        httpx.get(address, timeout=10)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        told = f"{redacted(address)} cannot be reached ({type(error).__name__})"
        raise MienError(f"{told}; start it, or unset PREFECT_API_URL for a server of our own") from None


def is_healthy(address: str) -> bool:
    """Whether a Prefect server answers at this address."""
    try:
        return httpx.get("/".join((address, "health")), timeout=5).text == "true"
    except httpx.HTTPError:
        return False


def _await(process: subprocess.Popen, address: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_healthy(address):
        if process.poll() is not None or time.monotonic() > deadline:
            raise MienError(
                f"no Prefect server at {address}: its port may be in use; set PREFECT_SERVER_API_PORT to a free one, "
                "or PREFECT_API_URL to a server that runs"
            )
        time.sleep(0.5)


if __name__ == "__main__":  # started by `mien serve`, which ends it with all that it starts
    run_main(serve)
