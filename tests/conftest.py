"""How tests share the machine: `make test` runs several modules at a time, each in one process.

Such a worker has one thread and databases and folders of its own. What workers share is the cache
of models, which any process may write.
"""

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

# Modules that start a Ray of their own, with a dozen processes. They go first, in two workers and
# one after another in each, so that the other tests run beside all that these wait for. The guides,
# and the deaths of a Ray, are slow as a whole: they are here for the time that they may take.
RAY_OF_A_SERVICE = (
    "tests/end_to_end/",
    "tests/client/test_demo.py",
    "tests/docs/test_readme.py",
    "tests/docs/test_guides.py",
)
RAY_OF_WORKERS = (
    "tests/service/test_openai_client.py",
    "tests/workers/test_cluster.py",
    "tests/workers/test_ray_deaths.py",
    "tests/workers/test_node_deaths.py",
)
RAY = RAY_OF_A_SERVICE + RAY_OF_WORKERS
LONG = "tests/workers/"  # minutes of training: next, so that no worker waits for them at the end

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # NumPy and torch read it when they are imported

# A developer's own truthtune.env is not what the tests are about.
os.environ["TRUTHTUNE_SETTINGS_FILE"] = os.devnull

# The controller of a training looks every 2 s whether a worker has something to report, and a
# process that idles for 1 s ends, so that the next stage loads its model anew: nothing beside hours
# of training, and most of the time of eight steps.
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "60000")

# Ray's workers yield to whatever else runs. Here that is other tests, for all of the time: a round
# of half a minute takes minutes beside them.
os.environ.setdefault("RAY_worker_niceness", "0")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        operation = getattr(item, "operation_label", None)
        if operation is not None and item.id.params is None:
            item._id = item.id.with_params(operation)  # Schemathesis has it in the name alone
        if item.nodeid.startswith(RAY):
            item.add_marker(pytest.mark.timeout(1800))  # they wait for processes of a busy machine
    items.sort(key=lambda item: (not item.nodeid.startswith(RAY), not item.nodeid.startswith(LONG)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    from xdist.scheduler import LoadFileScheduling

    class Modules(LoadFileScheduling):
        """A module stays together, because of its fixtures; those with a Ray count as two."""

        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith(RAY_OF_A_SERVICE):
                return "ray of a service"
            if nodeid.startswith(RAY_OF_WORKERS):
                return "ray of workers"
            return super()._split_scope(nodeid)

        def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
            twice = [nodeid for nodeid, times in Counter(collection).items() if times > 1]
            if twice:  # the queue is a mapping: all but one would silently not run
                raise pytest.UsageError(f"tests that share one id: {', '.join(twice)}")
            super().add_node_collection(node, collection)

    config.option.loadscopereorder = False  # else by the number of a module's tests
    return Modules(config, log)
