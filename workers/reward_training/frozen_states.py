"""Hidden states of the layers that no fine-tune touches: computed once, kept in a temporary file.

A prompt's are kept once for all its responses. The file is mapped into memory, so that data larger
than the memory is read back from the disk instead of ending the process.
"""

import shutil
import tempfile
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from api_schemas.errors import InvalidInput
from workers.reward_training.network import Embedded, Report, RewardNetwork
from workers.reward_training.rows import RowBatch, TokenSequence, batches

MAX_BYTES = 16 << 30
"""Of one fit's hidden states on the disk."""

_Key = tuple[tuple[int, ...], tuple[int, ...] | None]


class FrozenStates:
    """The states after the first `layers` layers of the network, of these sequences' tokens.

    Each of the `parts` is computed without the others: held-out sequences change nothing of the
    training ones, not even the rounding.
    """

    def __init__(
        self,
        network: RewardNetwork,
        layers: int,
        parts: Sequence[Sequence[TokenSequence]],
        report: Report | None = None,
    ):
        self.layers = layers
        self._device, self._dtype = network.decoder.device, network.decoder.dtype
        self._size = int(network.head_H.shape[0])
        self._places = _places([each for part in parts for each in part])
        slots = max((stop for _, stop in self._places.values()), default=0)
        _require_room(4 * slots * self._size)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the states
        shape = (max(slots, 1), self._size)
        self._states_TH = np.memmap(self._file, dtype=np.float32, mode="w+", shape=shape)
        self._compute(network, parts, report)

    @torch.no_grad()
    def _compute(
        self,
        network: RewardNetwork,
        parts: Sequence[Sequence[TokenSequence]],
        report: Report | None,
    ) -> None:
        done, total = 0, sum(len(set(part)) for part in parts)
        kept: set[_Key] = set()
        for part in parts:
            for batch in batches(part):
                kept |= self._keep(network, batch, kept)
                done += len(batch.sequences)
                if report:
                    report(done, total)

    def _keep(self, network: RewardNetwork, batch: RowBatch, kept: set[_Key]) -> set[_Key]:
        """Compute a batch, and keep what isn't kept yet; returns its keys."""
        hidden_RSH = network.hidden(batch, Embedded(network.decoder), self.layers)
        found = _parts(batch)
        for place, start, key in found:
            first, stop = self._places[key]
            if key not in kept:
                states = hidden_RSH[place, start : start + stop - first]
                self._states_TH[first:stop] = states.float().cpu().numpy()
        return {key for _, _, key in found}

    def of(self, batch: RowBatch) -> Tensor:
        """Zeros where a row is padded. Raises KeyError for a sequence that wasn't computed."""
        hidden_RSH = np.zeros((len(batch.rows), batch.slots, self._size), np.float32)
        for place, start, key in _parts(batch):
            first, stop = self._places[key]
            hidden_RSH[place, start : start + stop - first] = self._states_TH[first:stop]
        return torch.from_numpy(hidden_RSH).to(self._device, self._dtype)


def _places(sequences: Sequence[TokenSequence]) -> dict[_Key, tuple[int, int]]:
    """Where each prompt's states are, and those of each of its responses."""
    places: dict[_Key, tuple[int, int]] = {}
    end = 0
    for each in sequences:
        for key, length in (
            ((each.prompt, None), len(each.prompt)),
            ((each.prompt, each.response), len(each.response)),
        ):
            if key not in places:
                places[key] = (end, end + length)
                end += length
    return places


def _parts(batch: RowBatch) -> list[tuple[int, int, _Key]]:
    """Row, first slot and key of every prompt and response of a batch."""
    parts: list[tuple[int, int, _Key]] = []
    for place, row in enumerate(batch.rows):
        parts.append((place, 0, (row.prompt, None)))
        start = len(row.prompt)
        for response in row.responses:
            parts.append((place, start, (row.prompt, response)))
            start += len(response)
    return parts


def _require_room(size: int) -> None:
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if size > min(MAX_BYTES, free):  # writing to a full disk through a map would kill the process
        raise InvalidInput(
            f"the hidden states of the pairs take {size / 1e9:.1f} GB, at most "
            f"{MAX_BYTES / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free: lower max_pairs or "
            "max_tokens",
            param="reward_model.method.max_pairs",
        )
