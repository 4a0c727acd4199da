"""A coordinator that can't draw pools as it was told says so before it claims a job."""

import threading

import pytest
import torch

from api_schemas.errors import Unavailable
from service import coordinator
from service.settings import Settings


def test_a_coordinator_without_a_gpu_refuses_to_start_with_vllm(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    stopped = threading.Event()
    stopped.set()
    wanted = settings.model_copy(update={"sampler": "vllm"})
    with pytest.raises(Unavailable, match="TRUTHTUNE_SAMPLER is 'vllm', but no GPU"):
        coordinator.run(wanted, stopped)
    # The nodes of a cluster may have what this machine has not.
    coordinator.run(wanted.model_copy(update={"ray_address": "ray-head:6379"}), stopped)
