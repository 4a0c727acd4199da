"""One synchronous client, many threads."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from client_support import RunningService

from client import Truthtune

THREADS, EACH = 8, 4


def test_threads_share_one_client_and_each_gets_the_answers_to_its_own_requests(
    service: RunningService,
) -> None:
    together = Barrier(THREADS)

    def work(thread: int) -> None:
        together.wait(60)
        for number in range(EACH):
            name = f"thread {thread}, {number}"
            made = client.groups.create(name)
            assert made.name == name
            assert client.groups.get(made.id) == made
            assert made.id in [group.id for group in client.groups.list().page(limit=100).data]

    with (
        Truthtune(service.url, service.operator_key) as client,
        ThreadPoolExecutor(THREADS) as all_,
    ):
        for done in [all_.submit(work, thread) for thread in range(THREADS)]:
            done.result()
