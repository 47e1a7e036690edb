"""`make ui`: MLflow's pages over this workspace's runs."""

import os
import socket
import subprocess
import sys

from pipeline.core.errors import MienError
from pipeline.core.secrets import redacted
from pipeline.run.command import run_main
from pipeline.run.environment import prepare

HOST, PORT = "127.0.0.1", 5000


def require_free(host: str, port: int) -> None:
    """Refuse a port that another program holds, before a server half starts on it."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as error:
            raise MienError(f"{host}:{port}: {error.strerror}; end what holds it (another `make ui`?)") from None


def mlflow_page(place: str) -> str:
    """An address on MLflow's pages (`runs/<id>`): of the tracking server, or where `make ui` serves a workspace's."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    server = redacted(uri).rstrip("/") if uri.startswith("http") else f"http://{HOST}:{PORT}"
    return f"{server}/#/{place}"


def main() -> int:
    """Serve until Ctrl-C."""
    prepare()
    require_free(HOST, PORT)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", os.environ["MLFLOW_TRACKING_URI"]]
    return subprocess.call([*command, "--host", HOST, "--port", str(PORT)])


if __name__ == "__main__":
    run_main(main)
