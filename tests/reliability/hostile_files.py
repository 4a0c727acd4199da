"""Files made of good ones by an enemy, and what the service's own reading makes of them.

A process of its own, since its memory is bounded: `python hostile_files.py KIND FILES SEED BYTES`
prints how many were accepted and refused; anything else that a file brings about ends it.
Parquet is decoded by a process of the service's own, which bounds itself; what that took is looked
at afterwards.
"""

import io
import json
import random
import resource
import struct
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from api_schemas.errors import InvalidInput
from service.files.validation import check_content

_DECODER_BYTES = 192 * 2**20
"""Of memory, for Python with Arrow and a good file."""

Change = Callable[[bytearray, random.Random], None]


def safetensors_file() -> bytes:
    """Two LoRA matrices."""
    tensors = {
        "base.layers.0.q_proj.lora_A.weight": np.ones((4, 8), "<f4"),
        "base.layers.0.q_proj.lora_B.weight": np.full((8, 4), 0.5, "<f4"),
    }
    header, place = {}, 0
    for name, array in tensors.items():
        end = place + array.nbytes
        shape = list(array.shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    data = b"".join(array.tobytes() for array in tensors.values())
    return struct.pack("<Q", len(text)) + text + data


def pairs_file() -> bytes:
    lines = [{"prompt": f"question {i}", "chosen": f"yes {i}", "rejected": "no"} for i in range(12)]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def votes_file() -> bytes:
    rows = [f"question {i},yes {i},no {i},{i},{12 - i}" for i in range(12)]
    return "\n".join(["prompt,response_1,response_2,votes_1,votes_2", *rows, ""]).encode()


def parquet_file() -> bytes:
    table = pyarrow.table(
        {
            "prompt": [f"question {i}" for i in range(12)],
            "chosen": [f"yes {i}" for i in range(12)],
            "rejected": ["no"] * 12,
        }
    )
    written = io.BytesIO()
    pyarrow.parquet.write_table(table, written, row_group_size=5, compression="none")
    return written.getvalue()


def flip_bits(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def repeat_a_part(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    part = bytes(data[start : start + chance.randint(1, 200)])
    data[start:start] = part * chance.choice([1, 2, 50, 2000])


def drop_a_part(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    del data[start : start + chance.randint(1, 100)]


def put_something_in(data: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(data))
    data[place:place] = chance.choice(
        [
            b"\x00",
            b"\xff\xfe",
            b"\r",
            b'"',
            b"[" * 100_000,
            b'{"a":' * 50_000,
            b"9" * 5000,
            b"1e999",
            b"-1",
            b"NaN",
            b"\\ud800",
            b"PAR1",
            b"\x1f\x8b",
            b"\xef\xbb\xbf",
            bytes(chance.randrange(256) for _ in range(64)),
        ]
    )


def change_a_number(data: bytearray, chance: random.Random) -> None:
    digits = [place for place, byte in enumerate(data) if 48 <= byte <= 57]
    if not digits:
        return
    place = chance.choice(digits)
    data[place : place + 1] = chance.choice(
        [b"-1", b"0", b"18446744073709551615", b"1e400", b"99999999999999999999", b"null", b"[]"]
    )


def change_the_length(data: bytearray, chance: random.Random) -> None:
    """The first eight bytes: of safetensors, how long the header is."""
    length = chance.choice([0, 1, 8, 2**20, 2**31, 2**40, 2**63, 2**64 - 1, len(data)])
    data[:8] = struct.pack("<Q", length)


CHANGES: list[Change] = [
    flip_bits,
    cut,
    repeat_a_part,
    drop_a_part,
    put_something_in,
    change_a_number,
    change_the_length,
]
FILES: dict[str, tuple[str, bytes]] = {
    "safetensors": ("adapter", safetensors_file()),
    "pairs": ("preferences", pairs_file()),
    "votes": ("preferences", votes_file()),
    "parquet": ("preferences", parquet_file()),
}


def mutated(original: bytes, chance: random.Random) -> bytes:
    data = bytearray(original)
    for change in chance.choices(CHANGES, k=chance.randint(1, 3)):
        if data:
            change(data, chance)
    return bytes(data)


def read_mutations(kind: str, files: int, seed: int) -> Counter[str]:
    purpose, original = FILES[kind]
    chance, found = random.Random(seed), Counter[str]()
    check_content(purpose, io.BytesIO(original), len(original), "file")  # type: ignore[arg-type]
    for _ in range(files):
        data = mutated(original, chance)
        try:
            check_content(purpose, io.BytesIO(data), len(data), "file")  # type: ignore[arg-type]
            found["accepted"] += 1
        except InvalidInput:
            found["refused"] += 1
        except BaseException:
            Path("crash").write_bytes(data)
            raise
    return found


def _bound_memory(extra_bytes: int) -> None:
    """Beyond what the program itself takes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + extra_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _check_decoders(most_bytes: int) -> None:
    """The largest of the processes that decoded."""
    kilobytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert kilobytes * 1024 <= most_bytes, f"decoding took {kilobytes} KiB"


def main(kind: str, files: int, seed: int, extra_bytes: int) -> None:
    own_process = kind == "parquet"
    if not own_process:
        _bound_memory(extra_bytes)
    print(json.dumps(read_mutations(kind, files, seed)))
    if own_process:
        _check_decoders(_DECODER_BYTES + extra_bytes)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
