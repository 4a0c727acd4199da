"""`AsyncTruthtune`: what `Truthtune` does, awaited; and what only it has to hold."""

import asyncio
import inspect
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from client_support import Answer, Hold, RunningService, Script

from api_schemas import examples
from api_schemas.errors import InvalidInput, NotFound
from client import AsyncTruthtune, Truthtune
from client.modes import Method, Stream, finish
from client.pages import Listing
from client.problems import Unreachable

GROUP = Answer(200, json.dumps(examples.GROUP).encode())
GROUP_ID = examples.GROUP["id"]
JOB_ID = examples.JOB["id"]
EVENT = examples.JOB_EVENT | {"sequence": 1, "type": "job_claimed"}


def sent(event: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(event)}\n\n".encode()


STREAM_BEGUN = sent(EVENT)
PLAIN = Truthtune("http://127.0.0.1:1", "tt_op_x")
AWAITED = AsyncTruthtune("http://127.0.0.1:1", "tt_op_x")
IN_A_RESOURCE = [
    (resource, name)
    for resource, namespace in sorted(vars(PLAIN).items())
    if not resource.startswith("_")
    for name in sorted(dir(namespace))
    if not name.startswith("_")
]


def run(script: Script, use: Callable[[AsyncTruthtune], Coroutine[Any, Any, None]]) -> None:
    """`use` with a client of the scripted server, in an event loop; no connection is left."""

    async def main() -> None:
        async with AsyncTruthtune(script.url, "tt_op_test", timeout=30) as client:
            await use(client)
            assert open_connections(client) == []

    asyncio.run(main())


def open_connections(client: AsyncTruthtune | Truthtune) -> list[Any]:
    """Those that carry a request, or wait to: idle ones are kept for the next."""
    pool = client._connection._transport.http._transport._pool
    return [connection for connection in pool.connections if not connection.is_idle()]


async def cancelled_once(begun: Hold, task: "asyncio.Task[Any]") -> None:
    assert await asyncio.to_thread(begun.begun.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(("resource", "name"), IN_A_RESOURCE)
def test_every_method_is_there_twice_with_one_signature_awaited_in_one_and_plain_in_the_other(
    resource: str, name: str
) -> None:
    """Whoever adds a method without `Method` or `Stream` would have it in one client alone."""
    plain, awaited = (getattr(getattr(client, resource), name) for client in (PLAIN, AWAITED))
    declared = inspect.getattr_static(getattr(PLAIN, resource), name)
    if isinstance(declared, Method):
        assert inspect.iscoroutinefunction(awaited)
    elif isinstance(declared, Stream):
        assert inspect.isasyncgenfunction(awaited)
    else:
        assert inspect.signature(awaited).return_annotation.__origin__ is Listing
    assert not inspect.iscoroutinefunction(plain)
    assert not inspect.isasyncgenfunction(plain)
    assert inspect.signature(plain) == inspect.signature(awaited)
    assert inspect.getdoc(plain) == inspect.getdoc(awaited)


def test_a_group_registers_uploads_and_lists_against_the_real_service(
    service: RunningService, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "red sun"}\n')

    async def main() -> None:
        async with AsyncTruthtune(service.url, service.operator_key) as operator:
            made = await operator.groups.create("asynchronous")
            assert made.id in [group.id async for group in operator.groups.list()]
            secret = (await operator.groups.create_key(made.id)).secret
            with pytest.raises(NotFound):
                await operator.models.get("mdl_" + "0" * 26)
        async with AsyncTruthtune(service.url, secret) as group:
            file = await group.files.upload(prompts, "prompts")
            assert await group.files.content(file.id) == prompts.read_bytes()
            assert [page.data async for page in group.files.list().pages()] == [[file]]
            with pytest.raises(InvalidInput, match=r"absent can't be read: No such file"):
                await group.files.upload(tmp_path / "absent", "prompts")

    asyncio.run(main())


def test_many_tasks_share_one_client_and_each_gets_its_own_answer(service: RunningService) -> None:
    names = [f"task {number}" for number in range(12)]

    async def main() -> None:
        async with AsyncTruthtune(service.url, service.operator_key) as client:
            made = await asyncio.gather(*(client.groups.create(name) for name in names))
            assert [group.name for group in made] == names

    asyncio.run(main())


def test_a_job_is_waited_for_over_a_connection_that_breaks_off(script: Script) -> None:
    stage = {"type": "stage_finished", "data": {"stage": "fit_rewards", "seconds": 1.0}}
    later = [{"sequence": 2} | stage, {"sequence": 3, "type": "job_succeeded"}]
    events, fractions = [], []

    async def use(client: AsyncTruthtune) -> None:
        job = await client.jobs.wait(
            JOB_ID,
            on_event=lambda event: events.append(event.sequence),
            on_progress=lambda progress: fractions.append(progress.fraction),
        )
        assert job.status == "succeeded"

    job = Answer(200, json.dumps(examples.JOB | {"status": "succeeded"}).encode())
    script.answers = [
        job,
        Answer(200, STREAM_BEGUN, promised=len(STREAM_BEGUN) + 100),
        Answer(200, STREAM_BEGUN + b"".join(sent(EVENT | changes) for changes in later)),
        job,
    ]
    run(script, use)
    assert events == [1, 2, 3]
    assert fractions == [0.0, 1 / len(examples.JOB["stages"]), 1.0]
    assert script.asked[2].headers["last-event-id"] == "1"


def test_a_service_that_is_not_there_is_unreachable(script: Script) -> None:
    async def main() -> None:
        async with AsyncTruthtune("http://127.0.0.1:1", "tt_op_x", retries=1) as client:
            with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
                await client.groups.get(GROUP_ID)

    asyncio.run(main())


def test_a_task_cancelled_in_the_middle_of_an_answer_gives_its_connection_back(
    script: Script,
) -> None:
    hold = Hold()
    script.answers = [Answer(200, b"{", promised=500, hold=hold), GROUP]

    async def use(client: AsyncTruthtune) -> None:
        await cancelled_once(hold, asyncio.create_task(client.groups.get(GROUP_ID)))
        assert open_connections(client) == []
        assert (await client.groups.get(GROUP_ID)).id == GROUP_ID

    run(script, use)
    hold.release.set()
    assert len(script.asked) == 2, "a request that was cancelled was sent again"


def test_a_task_cancelled_while_it_waits_for_a_job_gives_its_connection_back(
    script: Script,
) -> None:
    hold = Hold()
    script.answers = [Answer(200, STREAM_BEGUN, promised=9999, hold=hold), GROUP]

    async def use(client: AsyncTruthtune) -> None:
        await cancelled_once(hold, asyncio.create_task(client.jobs.wait(JOB_ID)))
        assert open_connections(client) == []
        assert (await client.groups.get(GROUP_ID)).id == GROUP_ID

    run(script, use)
    hold.release.set()


def test_a_task_cancelled_between_two_attempts_asks_no_more(script: Script) -> None:
    hold = Hold()
    hold.release.set()
    script.answers = [Answer(503, b"{}", {"Retry-After": "60"}, hold=hold), GROUP]

    async def use(client: AsyncTruthtune) -> None:
        await cancelled_once(hold, asyncio.create_task(client.groups.get(GROUP_ID)))

    run(script, use)
    assert len(script.asked) == 1


def test_whoever_leaves_a_stream_early_closes_its_connection(
    script: Script, scripted: Truthtune
) -> None:
    hold = Hold()
    script.answers = [Answer(200, STREAM_BEGUN, promised=9999, hold=hold)] * 2

    async def use(client: AsyncTruthtune) -> None:
        stream = client.jobs.stream(JOB_ID)
        async for _ in stream:
            break
        await stream.aclose()

    run(script, use)
    for _ in scripted.jobs.stream(JOB_ID):
        break
    assert open_connections(scripted) == []
    hold.release.set()


def test_the_synchronous_client_works_where_an_event_loop_runs(
    script: Script, scripted: Truthtune
) -> None:
    """As in a notebook."""
    page = {"object": "list", "data": [examples.GROUP], "has_more": False}
    listed = Answer(200, json.dumps(page | {"first_id": GROUP_ID, "last_id": GROUP_ID}).encode())
    script.answers = [GROUP, listed]

    async def main() -> None:
        assert scripted.groups.get(GROUP_ID).id == GROUP_ID
        assert [group.id for group in scripted.groups.list()] == [GROUP_ID]

    asyncio.run(main())


def test_a_coroutine_that_suspends_is_no_work_of_the_synchronous_client() -> None:
    with pytest.raises(AssertionError, match="never suspends"):
        finish(asyncio.sleep(0))
