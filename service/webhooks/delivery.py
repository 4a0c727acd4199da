"""Delivery: a few threads that send due messages until their receivers say that they arrived.

At least once: a message is sent again if whoever sent it died before noting so. No transaction is
open while a request is on its way.
"""

import threading
import time
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy.orm import Session

from service.database import Database, database_now
from service.settings import Settings
from service.vault import DamagedSeal, Vault
from service.webhooks import claims
from service.webhooks.sending import Answer, Sender
from service.webhooks.signing import signed_headers

THREADS = 8
_GRACE_SECONDS = 3.0
"""At the end, for attempts to be noted; one still on its way then is sent again later."""

log = structlog.get_logger()


class Deliverer:
    """A context in which threads deliver; `deliver_next` does so from the caller's own.

    `clock` is the database's. One thread at a time looks for work, and hands the look-out to the
    next once it has found some, so that an idle service asks once in `poll_seconds`.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        sender: Sender,
        poll_seconds: float,
        clock: Callable[[Session], datetime] = database_now,
    ):
        self._database = database
        self._vault = vault
        self._sender = sender
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._stop = threading.Event()
        self._look_out = threading.Lock()
        self._freed = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, name=f"webhooks-{number}", daemon=True)
            for number in range(THREADS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._freed.set()
        end = time.monotonic() + _GRACE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def deliver_next(self) -> bool:
        """Send one message that is due, if there is one."""
        held = self._claim()
        if held is None:
            return False
        self._deliver(held)
        return True

    def _work(self) -> None:
        while not self._stop.is_set():
            held = self._next()
            if held is None:
                return
            try:
                self._deliver(held)
            except Exception:  # the hold runs out, and it is sent again
                log.exception("webhook_abandoned", message_id=held.message_id)
            self._freed.set()  # the endpoint may have another message

    def _next(self) -> claims.Claim | None:
        """Wait for a due message; None once the deliverer is told to stop."""
        with self._look_out:
            while not self._stop.is_set():
                self._freed.clear()
                try:
                    held = self._claim()
                except Exception:  # the database is away, and may come back
                    log.exception("looking_for_webhooks_failed")
                    held = None
                if held is not None:
                    return held
                self._freed.wait(self._poll_seconds)
        return None

    def _claim(self) -> claims.Claim | None:
        """Looks before it locks: on SQLite a write transaction keeps all others waiting."""
        with self._database.read() as session:
            if not claims.any_due(session, self._clock(session)):
                return None
        with self._database.write() as session:
            return claims.claim(session, self._clock(session))

    def _deliver(self, held: claims.Claim) -> None:
        answer = self._send(held)
        with self._database.write() as session:
            noted = claims.finish(session, held, answer, self._clock(session))
        log.info(
            "webhook_sent",
            message_id=held.message_id,
            webhook_endpoint_id=held.endpoint_id,
            attempt=held.attempt,
            status=answer.status,
            error=answer.error,
            noted=noted,
        )

    def _send(self, held: claims.Claim) -> Answer:
        try:
            headers = signed_headers(
                self._vault,
                held.endpoint_id,
                held.sealed_keys,
                held.message_id,
                int(held.claimed_at.timestamp()),
                held.body,
            )
        except DamagedSeal as error:
            log.error(
                "webhook_key_damaged", webhook_endpoint_id=held.endpoint_id, reason=str(error)
            )
            return Answer(None, "the endpoint's key can't be opened; the operator's log says why")
        return self._sender.post(held.url, headers, held.body)


def deliverer(settings: Settings, database: Database, vault: Vault) -> Deliverer:
    """As a coordinator runs it."""
    sender = Sender(private_too=settings.webhook_private_addresses)
    return Deliverer(database, vault, sender, settings.poll_seconds)
