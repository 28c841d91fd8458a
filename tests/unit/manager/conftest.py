"""Log lines of the code under test, short."""

import pytest
import structlog


@pytest.fixture(autouse=True, scope="session")
def _plain_logs() -> None:
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()])
