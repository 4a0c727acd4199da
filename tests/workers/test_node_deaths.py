"""A Ray of three nodes that loses one in each stage: the result stays the same."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import TinyRound
from three_nodes import GATES, HEAD, NODE, Nodes, ThreeNodes

from api_schemas.errors import ClusterUnfit
from workers.cluster import Cluster, StageCancelled
from workers.cluster_room import cluster_rooms
from workers.ray_address import run_python
from workers.room import rooms_from_json
from workers.stages.candidates import candidates_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

TRAINING = {"steps": 6, "prompts_per_step": 3, "evaluate_every": 2, "top_layers": None}
ENDLESS = {**TRAINING, "steps": 100_000, "learning_rate": 1e-4, "patience": 100_000}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreeNodes]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        three = ThreeNodes(tmp_path_factory.mktemp("nodes"), monkeypatch)
        three.cluster.start()
        yield three
        three.cluster.shutdown()
        three.nodes.shutdown()


@pytest.fixture(scope="module")
def undisturbed(three: ThreeNodes) -> TinyRound:
    made = TinyRound(three.artifacts, training=TRAINING)
    for stage in GATES:
        made.digests[stage] = three.run(made, stage)
    return made


def again(three: ThreeNodes, undisturbed: TinyRound) -> TinyRound:
    """The same round, before any of its stages on complete nodes."""
    three.complete()
    made = TinyRound(three.artifacts, training=TRAINING)
    made.digests = dict(undisturbed.digests)
    return made


def crews(made: TinyRound) -> list[int]:
    """With how many workers the training was begun, and gone on with."""
    return [event.data["workers"] for event in made.events if "workers" in event.data]


def steps(made: TinyRound) -> list[int]:
    return [event.data["step"] for event in made.events if event.type == "training_step"]


def apart(made: TinyRound, train: str, other_train: str) -> float:
    """How far any number of the adapters that two trainings left is from its like."""
    largest = 0.0
    left, other_left = (
        candidates_of(made.context(), {**made.digests, "train": digest})
        for digest in (train, other_train)
    )
    for one, other in zip(left, other_left, strict=True):
        assert (one.name, one.groups) == (other.name, other.groups)
        for name, tensor in (one.state or {}).items():
            assert other.state is not None
            largest = max(largest, float((other.state[name] - tensor).abs().max()))
    return largest


@pytest.mark.parametrize("stage", [stage for stage in GATES if stage != "train"])
def test_a_node_that_dies_in_a_stage_changes_no_bit_of_what_it_leaves(
    three: ThreeNodes, undisturbed: TinyRound, stage: Any
) -> None:
    made = again(three, undisturbed)
    started = time.monotonic()
    assert three.run(made, stage, kill=True) == undisturbed.digests[stage]
    print(f"\n{stage}: {time.monotonic() - started:.1f} s with a node that died")
    assert len(three.nodes.worker_nodes) == 2
    assert three.run(made, stage) == undisturbed.digests[stage]  # cut for two nodes from the start


def test_a_training_whose_node_died_goes_on_with_fewer_from_its_last_checkpoint(
    three: ThreeNodes, undisturbed: TinyRound
) -> None:
    """To 1e-5 of the adapters: two workers add up float32 gradients in another order."""
    made = again(three, undisturbed)
    started = time.monotonic()
    digest = three.run(made, "train", kill=True)
    print(f"\ntrain: {time.monotonic() - started:.1f} s with a node that died")
    assert crews(made) == [3, 2]
    assert steps(made)[:2] + steps(made)[-4:] == [1, 2, 3, 4, 5, 6]
    assert len(steps(made)) <= 7  # the third may be told twice: it went on behind the second
    difference = apart(made, digest, undisturbed.digests["train"])
    print(f"the adapters are {difference:.1e} apart at most")
    assert difference < 1e-5


def test_nodes_that_share_the_base_model_s_layers_train_what_one_process_trains(
    three: ThreeNodes, undisturbed: TinyRound
) -> None:
    three.complete()
    made = TinyRound(three.artifacts, training={**TRAINING, "steps": 4})
    made.digests = {k: v for k, v in undisturbed.digests.items() if k not in ("train", "value")}
    three.cluster.shard_base_model = True
    try:
        digest = three.run(made, "train")
    finally:
        three.cluster.shard_base_model = False
    assert crews(made) == [3]
    made.run("train")
    assert apart(made, digest, made.digests["train"]) < 1e-4  # as workers that share nothing


def test_a_training_grows_again_when_a_node_comes_back(
    three: ThreeNodes, undisturbed: TinyRound
) -> None:
    again(three, undisturbed)
    three.kill()
    made = TinyRound(three.artifacts, training=ENDLESS)
    made.digests = {k: v for k, v in undisturbed.digests.items() if k not in ("train", "value")}

    def has_grown() -> bool:
        if crews(made) == [2] and steps(made):
            three.complete()
        return len(crews(made)) > 1 and made.events[-1].type == "training_step"

    with pytest.raises(StageCancelled):
        three.cluster.run_stage("train", made.job, made.digests, made.events.append, has_grown)
    assert crews(made) == [2, 3]


def test_each_node_tells_what_it_has_room_for(three: ThreeNodes) -> None:
    three.complete()
    rooms = cluster_rooms(["tiny-enumerable"])
    assert sorted(room.cores for room in rooms) == [0, 1, 1, 1]
    assert all(room.memory for room in rooms)
    assert [room.weights for room in rooms if room.cores] == [{"tiny-enumerable": 46896}] * 3
    assert [room.weights for room in rooms if not room.cores] == [{}]  # no work comes there
    said = run_python(["-m", "workers.cluster_room", three.nodes.address, "tiny-enumerable"], 120)
    told = rooms_from_json(said.text.splitlines()[-1])  # as `truthtune doctor` asks
    assert sorted(room.cores for room in told) == [0, 1, 1, 1]


def test_a_job_that_needs_a_gpu_is_refused_before_its_first_stage(three: ThreeNodes) -> None:
    made = TinyRound(three.artifacts, training=TRAINING)
    three.cluster.require_gpu = True
    try:
        with pytest.raises(ClusterUnfit, match="TRUTHTUNE_REQUIRE_GPU") as refused:
            three.run(made, "fit_rewards")
    finally:
        three.cluster.require_gpu = False
    assert refused.value.code == "no_gpu"
    assert made.events == []
    assert three.run(made, "fit_rewards")


def test_a_cluster_lost_in_the_middle_ends_the_stage_by_name_and_another_goes_on(
    three: ThreeNodes, undisturbed: TinyRound
) -> None:
    """The last test, for it ends the others' nodes. Ray would end this process in a minute."""
    three.complete()
    made = TinyRound(three.artifacts, training=ENDLESS)
    made.digests = {k: v for k, v in undisturbed.digests.items() if k not in ("train", "value")}

    lost_at: list[float] = []

    def lose_the_head() -> bool:
        if steps(made) and not lost_at:
            three.nodes.head_node.kill_gcs_server()
            lost_at.append(time.monotonic())
        return False

    with pytest.raises(ClusterUnfit, match="was lost while it worked") as lost:
        three.cluster.run_stage("train", made.job, made.digests, made.events.append, lose_the_head)
    print(f"\nknown to be lost after {time.monotonic() - lost_at[0]:.1f} s")
    assert lost.value.code == "cluster_unreachable"
    three.cluster.shutdown()
    with pytest.raises(ClusterUnfit, match="no Ray answers at TRUTHTUNE_RAY_ADDRESS"):
        three.cluster.start()
    three.nodes.shutdown()
    three.nodes = Nodes(initialize_head=True, head_node_args=HEAD)
    three.nodes.add_node(**NODE)
    three.cluster = Cluster(str(three.artifacts), three.nodes.address)
    three.cluster.start()
    assert three.run(made, "solve") == undisturbed.digests["solve"]
