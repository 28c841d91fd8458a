"""To be imported before anything imports structlog: it then comes without rich.

structlog loads rich where it finds it, to colour tracebacks, which logs of a daemon have no use for. That costs every
start of a process 50 ms and its memory 5 MB (the command line, which needs rich, is why it is there).
"""

import sys

if "structlog" not in sys.modules and "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]  # importing it fails as if it were not installed
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
