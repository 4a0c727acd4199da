"""Jobs: their events as a stream that survives a lost connection, and waiting for the end."""

import time
from collections.abc import Callable, Iterator

from api_schemas.base import ListPage
from api_schemas.jobs import EventType, Job, JobEvent
from client.event_stream import parse_events
from client.http import parsed
from client.pages import Listing
from client.problems import Unreachable
from client.resources import Resource

FINAL_EVENTS: frozenset[EventType] = frozenset({"job_succeeded", "job_failed", "job_cancelled"})

_RECONNECT_SECONDS = 1.0
_LOST_CONNECTIONS = 30
"""In a row without any event between them. With the retries of each connection and their delays
that is a few minutes for a service to restart: about four by default."""


class Jobs(Resource):
    def get(self, job_id: str) -> Job:
        return self._connection.get(Job, f"/v1/jobs/{job_id}")

    def list(self) -> Listing[Job]:
        return Listing(self._connection, "/v1/jobs", ListPage[Job])

    def events(self, job_id: str) -> Listing[JobEvent]:
        """The events so far, oldest first."""
        return Listing(self._connection, f"/v1/jobs/{job_id}/events", ListPage[JobEvent])

    def cancel(self, job_id: str) -> Job:
        return self._connection.act(Job, f"/v1/jobs/{job_id}/cancel")

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job again; stages that are done are kept."""
        return self._connection.act(Job, f"/v1/jobs/{job_id}/retry")

    def plot(self, job_id: str, name: str = "reward_drift") -> bytes:
        """A drawing that the job's stages left, as SVG."""
        return self._connection.send("GET", f"/v1/jobs/{job_id}/plots/{name}.svg").content

    def stream(self, job_id: str, after: int = 0) -> Iterator[JobEvent]:
        """Events with a `sequence` above `after`, as they happen, until the job has ended.

        A lost connection is made again from the last event on, so that each event comes once.
        Raises Unreachable if the service stays away.
        """
        last, final, lost = after, False, 0
        while True:
            before = last
            try:
                for event in self._connected(job_id, last):
                    last, final, lost = event.sequence, event.type in FINAL_EVENTS, 0
                    yield event
                # Resumed behind the last event, a stream has no event to tell the end by.
                if final or (last == before and self.get(job_id).finished_at is not None):
                    return
            except Unreachable:
                lost += 1
                if lost == _LOST_CONNECTIONS:
                    raise
            time.sleep(_RECONNECT_SECONDS)

    def wait(self, job_id: str, on_event: Callable[[JobEvent], None] | None = None) -> Job:
        """Block until the job has ended, in whatever way; each event goes to `on_event`."""
        for event in self.stream(job_id):
            if on_event is not None:
                on_event(event)
        return self.get(job_id)

    def _connected(self, job_id: str, after: int) -> Iterator[JobEvent]:
        headers = {"Accept": "text/event-stream"}
        if after:
            headers["Last-Event-ID"] = str(after)
        path = f"/v1/jobs/{job_id}/events/stream"
        with self._connection.stream("GET", path, headers=headers) as response:
            for data in parse_events(response.iter_lines()):
                event = parsed(JobEvent, data, f"GET {path}")
                if event.sequence > after:
                    yield event
