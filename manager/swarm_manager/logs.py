"""Logs of the process: one line an event on stderr, JSON for machines or coloured for a person's terminal."""

import logging
import sys

import structlog

from swarm_manager.errors import StartError

_LEVELS = ("debug", "info", "warning", "error")
_FORMATS = ("auto", "json", "console")


def configure(level: str, format_: str) -> None:
    """Send structlog and the standard library's logging to stderr; StartError for an unknown level or format."""
    if level not in _LEVELS:
        raise StartError(f"the log level is one of {', '.join(_LEVELS)}, not {level!r}")
    if format_ not in _FORMATS:
        raise StartError(f"the log format is one of {', '.join(_FORMATS)}, not {format_!r}")
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[_drop_meta, _renderer(format_)])
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


def _renderer(format_: str) -> structlog.types.Processor:
    if format_ == "console" or (format_ == "auto" and sys.stderr.isatty()):
        return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    return structlog.processors.JSONRenderer()


_drop_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
