"""The LoRA adapters of all worlds, stacked over one frozen base model.

A linear layer with W adapters computes y = x·Mᵀ + s·(x·Aᵀ)·Bᵀ with A, B of the world that the row
belongs to (Hu et al. 2021, arXiv 2106.09685; s = alpha / r): two batched products for all worlds
together. Rows come in equal blocks, one block a world of the current selection.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from api_schemas.training import AdapterTraining

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class StackedLinear(nn.Module):
    """A frozen linear layer and W adapters; which of them apply is the owner's `selection`."""

    def __init__(self, base: nn.Linear, owner: "StackedAdapters", name: str):
        super().__init__()
        self.base = base
        # Not registered as submodules: the parameters belong to the owner alone.
        self._owner = (owner,)
        self._name = name

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x)
        owner = self._owner[0]
        if owner.own_b is not None:
            return y + self._of_each_row(x, owner.own_b)
        if owner.selection is None:
            return y
        selection = owner.selection
        a_Wri, b_Wor = owner.a[self._name][selection], owner.b[self._name][selection]
        x_WKi = x.reshape(len(selection), -1, x.shape[-1]).to(a_Wri.dtype)
        delta_WKo = (x_WKi @ a_Wri.mT) @ b_Wor.mT
        y = y + (owner.scaling * delta_WKo).to(y.dtype).view(y.shape)
        return y

    def _of_each_row(self, x_RSi: Tensor, own_b: dict[str, Tensor]) -> Tensor:
        owner = self._owner[0]
        a_ri = owner.a[self._name][0].detach()
        b_Ror = a_ri.new_zeros((len(x_RSi), self.base.out_features, len(a_ri)))
        own_b[self._name] = b_Ror.requires_grad_()
        delta_RSo: Tensor = owner.scaling * (x_RSi.to(a_ri.dtype) @ a_ri.mT) @ b_Ror.mT
        return delta_RSo.to(x_RSi.dtype)


class StackedAdapters(nn.Module):
    """Adapters for `worlds` worlds on the last `top_layers` layers of a model.

    Adapters start as PEFT's do: A uniform with Kaiming's bound, B zero; A is the same in every
    world, so that worlds differ by their rewards only. Parameters are float32 at least.
    """

    def __init__(
        self,
        model: Any,
        *,
        worlds: int,
        rank: int,
        scaling: float,
        top_layers: int | None,
        seed: int,
    ):
        super().__init__()
        self.worlds, self.rank, self.scaling = worlds, rank, scaling
        self.selection: list[int] | None = None
        """The world of each block of rows, or None for the base model alone."""
        self.own_b: dict[str, Tensor] | None = None
        """Where `each_row_its_own` keeps the matrices B of rows, by layer."""
        layers = model.model.layers
        self.top_layers = min(top_layers or len(layers), len(layers))
        self.first_layer = len(layers) - self.top_layers
        self.a, self.b = nn.ParameterDict(), nn.ParameterDict()
        generator = torch.Generator().manual_seed(seed)
        self._replaced: list[tuple[Any, str, nn.Module]] = []
        for index in range(self.first_layer, len(layers)):
            for path in TARGETS:
                self._attach(layers[index], path, f"{index}:{path}", generator)

    @classmethod
    def announced(
        cls,
        model: Any,
        settings: AdapterTraining,
        *,
        worlds: int,
        seed: int = 0,
        rank: int | None = None,
    ) -> "StackedAdapters":
        """As the announcement describes them; `seed` is idle where parameters are loaded.

        With `rank` there is room for adapters up to that rank; s stays the announced alpha / r.
        """
        return cls(
            model,
            worlds=worlds,
            rank=settings.lora_rank if rank is None else rank,
            scaling=settings.lora_alpha / settings.lora_rank,
            top_layers=settings.top_layers,
            seed=seed,
        )

    def _attach(self, layer: nn.Module, target: str, name: str, generator: torch.Generator) -> None:
        for block in (layer.self_attn, layer.mlp):
            linear = getattr(block, target, None)
            if linear is None:
                continue
            weight = linear.weight
            dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
            bound = math.sqrt(1 / linear.in_features)  # Kaiming uniform with a = √5
            a_ri = torch.rand((self.rank, linear.in_features), generator=generator)
            a_ri = ((2 * a_ri - 1) * bound).to(weight.device, dtype)
            self.a[name] = nn.Parameter(a_ri.expand(self.worlds, -1, -1).clone())
            zeros = torch.zeros((self.worlds, linear.out_features, self.rank), dtype=dtype)
            self.b[name] = nn.Parameter(zeros.to(weight.device))
            setattr(block, target, StackedLinear(linear, self, name))
            self._replaced.append((block, target, linear))

    def close(self) -> None:
        """Give the base model its own linear layers back."""
        for block, target, linear in self._replaced:
            setattr(block, target, linear)
        self._replaced.clear()

    @contextmanager
    def select(self, worlds: Sequence[int] | None) -> Iterator[None]:
        """Within the block, rows belong to these worlds in equal blocks; None: the base model."""
        before, self.selection = self.selection, None if worlds is None else list(worlds)
        try:
            yield
        finally:
            self.selection = before

    @contextmanager
    def each_row_its_own(self) -> Iterator[dict[str, Tensor]]:
        """Within the block every row has an adapter of its own: the initial one, A as all worlds
        start with and B = 0. Yields the rows' B by layer, (R, out, r), for their gradients."""
        self.own_b = {}
        try:
            yield self.own_b
        finally:
            self.own_b = None

    def world_state(self, world: int) -> dict[str, Tensor]:
        """A copy of one world's parameters, under PEFT's names."""
        return {
            _peft_key(name, kind): parameters[name].detach()[world].cpu().clone()
            for kind, parameters in (("A", self.a), ("B", self.b))
            for name in parameters
        }

    @torch.no_grad()
    def load_world_state(self, world: int, state: dict[str, Tensor]) -> None:
        """Replace one world's parameters by those of `state`, whose rank may be smaller.

        Rows of A and columns of B that the state lacks become zeros, which add nothing to B·A.
        Raises ValueError for a larger rank, other layers, or other shapes.
        """
        rank = rank_of(state)
        if rank > self.rank:
            raise ValueError(f"an adapter of rank {rank} has no room in a stack of {self.rank}")
        expected = {_peft_key(name, kind) for name in self.a for kind in "AB"}
        if state.keys() != expected:
            raise ValueError(f"adapters differ in {sorted(state.keys() ^ expected)}")
        for name in self.a:
            _fill(self.a[name][world], state[_peft_key(name, "A")], rank, axis=0)
            _fill(self.b[name][world], state[_peft_key(name, "B")], rank, axis=1)

    def parameters_by_world(self) -> list[nn.Parameter]:
        """All parameters; the first axis of each is the world."""
        return [*self.a.values(), *self.b.values()]


def rank_of(state: dict[str, Tensor]) -> int:
    """The rank of an adapter: A is (r, inputs), B is (outputs, r).

    Raises ValueError unless all its matrices have the same.
    """
    ranks = {key: tensor.shape[1 if ".lora_B." in key else 0] for key, tensor in state.items()}
    if len(set(ranks.values())) != 1:
        raise ValueError(f"an adapter needs one rank, its matrices have {ranks}")
    return next(iter(ranks.values()))


def alpha_at_rank(settings: AdapterTraining, rank: int) -> float:
    """The alpha that gives an adapter of this rank the announced scaling s = alpha / r."""
    return settings.lora_alpha * rank / settings.lora_rank


def _fill(parameter: Tensor, values: Tensor, rank: int, axis: int) -> None:
    """Copy `values` to the first `rank` places of the axis, and zeros to the others."""
    place = parameter.narrow(axis, 0, rank)
    if place.shape != values.shape:  # else copy_ would broadcast an axis of length 1
        raise ValueError(f"adapter matrix of {tuple(values.shape)}, expected {tuple(place.shape)}")
    parameter.zero_()
    place.copy_(values)


def _peft_key(name: str, kind: str) -> str:
    index, target = name.split(":")
    block = "self_attn" if target in TARGETS[:4] else "mlp"
    return f"base_model.model.model.layers.{index}.{block}.{target}.lora_{kind}.weight"


def save_peft(
    folder: Path,
    state: dict[str, Tensor],
    *,
    base_model: str,
    rank: int,
    alpha: float,
    layers: list[int],
) -> None:
    """Write one adapter as `peft` does: adapter_config.json and adapter_model.safetensors.

    Raises ValueError if `rank` isn't the state's: nobody could load such files.
    """
    from peft import LoraConfig
    from safetensors.torch import save_file

    if rank_of(state) != rank:
        raise ValueError(f"rank {rank} announced for an adapter of rank {rank_of(state)}")
    targets = sorted({key.split(".")[-3] for key in state})
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # peft divides it by r; a float is fine
        target_modules=targets,
        layers_to_transform=layers,
        layers_pattern="layers",
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
        base_model_name_or_path=base_model,
        inference_mode=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    # sorted: PEFT keeps the targets as a set, whose order would change the file's digest
    config.target_modules = targets
    config.save_pretrained(str(folder))
    tensors = {key: tensor.float().contiguous() for key, tensor in sorted(state.items())}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
