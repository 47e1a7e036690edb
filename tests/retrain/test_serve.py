"""What `mien serve` says where it cannot serve: one line, with the mend."""

import socket

import pytest

from pipeline.core.errors import MienError
from pipeline.retrain.serve import is_healthy, require_server


def test_a_named_server_that_is_away():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://bob:hunter2@127.0.0.1:{free.getsockname()[1]}/api"
    with pytest.raises(
        MienError, match=r"cannot be reached \(ConnectError\); start it, or unset PREFECT_API_URL"
    ) as told:
        require_server(address)
    assert "hunter2" not in str(told.value) and not is_healthy(address)
    with pytest.raises(MienError, match="cannot be reached"):
        require_server("no address")
