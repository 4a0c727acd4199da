"""How every process of the service logs."""

import logging
import sys

import structlog


def configure() -> None:
    """JSON lines on standard error, where standard output may carry a command's result.

    Tracebacks come without the values of variables, among which are keys and reports.
    """
    if structlog.is_configured():
        return
    traceback = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(traceback),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
