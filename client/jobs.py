"""Jobs: their events as a stream that survives a lost connection, and waiting for the end."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from api_schemas.base import ListPage
from api_schemas.jobs import EventType, Job, JobEvent
from client.event_stream import EventParser
from client.http import Connection, parsed
from client.job_progress import OnProgress, ProgressMeter
from client.modes import Method, Mode, Resource, Stream
from client.pages import Listing
from client.problems import JobFailed, Unreachable

OnEvent = Callable[[JobEvent], None]

FINAL_EVENTS: frozenset[EventType] = frozenset({"job_succeeded", "job_failed", "job_cancelled"})

_RECONNECT_SECONDS = 1.0
_LOST_CONNECTIONS = 30
"""In a row without any event between them. With the retries of each connection and their delays
that is a few minutes for a service to restart: about four by default."""


class Jobs(Resource[Mode]):
    @Method
    async def get(self, job_id: str) -> Job:
        return await _job(self._connection, job_id)

    def list(self) -> Listing[Mode, Job]:
        return Listing(self._connection, "/v1/jobs", ListPage[Job])

    def events(self, job_id: str) -> Listing[Mode, JobEvent]:
        """The events so far, oldest first."""
        return Listing(self._connection, f"/v1/jobs/{job_id}/events", ListPage[JobEvent])

    @Method
    async def cancel(self, job_id: str) -> Job:
        return await self._connection.act(Job, f"/v1/jobs/{job_id}/cancel")

    @Method
    async def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job again; stages that are done are kept."""
        return await self._connection.act(Job, f"/v1/jobs/{job_id}/retry")

    @Method
    async def plot(self, job_id: str, name: str = "reward_drift") -> bytes:
        """A drawing that the job's stages left, as SVG."""
        return await self._connection.content(f"/v1/jobs/{job_id}/plots/{name}.svg")

    @Stream
    async def stream(self, job_id: str, after: int = 0) -> AsyncGenerator[JobEvent, None]:
        """Events with a `sequence` above `after`, as they happen, until the job has ended.

        A lost connection is made again from the last event on, so that each event comes once.
        Raises Unreachable if the service stays away.
        """
        async with aclosing(job_events(self._connection, job_id, after)) as events:
            async for event in events:
                yield event

    @Method
    async def wait(
        self,
        job_id: str,
        on_event: OnEvent | None = None,
        on_progress: OnProgress | None = None,
    ) -> Job:
        """Wait until the job has ended, in whatever way. Each event goes to `on_event`, and after
        each, how far the job is, to `on_progress`: plain functions, in both clients."""
        return await ended(self._connection, job_id, on_event, on_progress)


async def ended(
    connection: Connection,
    job_id: str,
    on_event: OnEvent | None,
    on_progress: OnProgress | None,
) -> Job:
    """The job once it has ended; see `Jobs.wait`."""
    stages = (await _job(connection, job_id)).stages if on_progress is not None else []
    meter = ProgressMeter(stage.name for stage in stages)
    async with aclosing(job_events(connection, job_id)) as events:
        async for event in events:
            if on_event is not None:
                on_event(event)
            if on_progress is not None:
                on_progress(meter.after(event))
    return await _job(connection, job_id)


async def succeeded(
    connection: Connection,
    job_id: str,
    on_event: OnEvent | None = None,
    on_progress: OnProgress | None = None,
) -> None:
    """Wait for the job. Raises JobFailed unless it succeeded."""
    job = await ended(connection, job_id, on_event, on_progress)
    if job.status != "succeeded":
        reason = f": {job.error.message}" if job.error else ""
        code = job.error.code if job.error else None
        raise JobFailed(f"job {job.id} {job.status}{reason}", code=code)


async def job_events(
    connection: Connection, job_id: str, after: int = 0
) -> AsyncGenerator[JobEvent, None]:
    """See `Jobs.stream`."""
    last, final, lost = after, False, 0
    while True:
        before = last
        try:
            async with aclosing(_connected(connection, job_id, last)) as events:
                async for event in events:
                    last, final, lost = event.sequence, event.type in FINAL_EVENTS, 0
                    yield event
            # Resumed behind the last event, a stream has no event to tell the end by.
            if final or (
                last == before and (await _job(connection, job_id)).finished_at is not None
            ):
                return
        except Unreachable:
            lost += 1
            if lost == _LOST_CONNECTIONS:
                raise
        await connection.sleep(_RECONNECT_SECONDS)


async def _connected(
    connection: Connection, job_id: str, after: int
) -> AsyncGenerator[JobEvent, None]:
    """The events of one connection, as long as it lasts."""
    headers = {"Accept": "text/event-stream"}
    if after:
        headers["Last-Event-ID"] = str(after)
    path = f"/v1/jobs/{job_id}/events/stream"
    parser = EventParser()
    async with connection.stream(path, headers) as answer:
        async for chunk in answer.chunks:
            for data in parser.take(chunk):
                event = parsed(JobEvent, data, f"GET {path}")
                if event.sequence > after:
                    yield event


async def _job(connection: Connection, job_id: str) -> Job:
    return await connection.get(Job, f"/v1/jobs/{job_id}")
