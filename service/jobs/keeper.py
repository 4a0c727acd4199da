"""Keeps a claimed job's lease alive while its stages run, and says when they must stop."""

import threading
import time
from types import TracebackType
from typing import Self

import structlog

from api_schemas.jobs import ProgressEvent
from service.database import Database
from service.jobs import leases

log = structlog.get_logger()


class LeaseKeeper:
    """A context in which a thread renews the lease of `held` every `heartbeat_seconds`.

    `lost` is set once the job is another's, or once no renewal got through for a whole lease;
    `cancel_requested` once someone who may wants the job cancelled.
    """

    def __init__(
        self,
        database: Database,
        held: leases.Claim,
        lease_seconds: float,
        heartbeat_seconds: float,
    ):
        self.held = held
        self.lost = threading.Event()
        self.cancel_requested = threading.Event()
        self.failure: Exception | None = None
        self.tokens = 0
        """That the running stage says it sampled or trained on."""
        self._database = database
        self._lease_seconds = lease_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def must_stop(self) -> bool:
        return self.lost.is_set() or self.cancel_requested.is_set() or self.failure is not None

    def record(self, event: ProgressEvent) -> None:
        """Write an event, from whichever thread.

        It never raises into the stage that tells it, which could leave tasks behind: a failure to
        write makes the stage stop, and is in `failure`.
        """
        counted = event.data.get("tokens")
        self.tokens += counted if isinstance(counted, int) else 0
        try:
            with self._database.write() as session:
                leases.record(session, self.held, event)
        except leases.LeaseLost:
            self.lost.set()
        except Exception as error:
            self.failure = error

    def _beat(self) -> None:
        renewed = time.monotonic()
        while not self._done.wait(self._heartbeat_seconds):
            started = time.monotonic()
            try:
                self._renew()
                renewed = started
            except leases.LeaseLost:
                self.lost.set()
            except Exception:
                log.exception("heartbeat_failed", job_id=self.held.job_id)
                if time.monotonic() - renewed > self._lease_seconds:
                    self.lost.set()

    def _renew(self) -> None:
        with self._database.write() as session:
            if leases.heartbeat(session, self.held, self._lease_seconds):
                self.cancel_requested.set()
