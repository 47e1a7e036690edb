"""`make ui`: MLflow's pages over this workspace's runs."""

import os
import subprocess
import sys

from pipeline.base.environment import prepare


def main() -> int:
    """Serve on 127.0.0.1:5000 until Ctrl-C."""
    prepare()
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", os.environ["MLFLOW_TRACKING_URI"]]
    try:
        return subprocess.call([*command, "--host", "127.0.0.1", "--port", "5000"])
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
