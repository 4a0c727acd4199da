"""What work takes on a device: seconds and dollars. docs/scale.md §4.

    seconds = max(flops/(peak·share), bytes read/(bandwidth·share)) + logits·a + calls·b

Of the core that this is measured on, all constants are fitted (fit.py) and nothing is read faster
than it is computed. A GPU's peaks are its maker's; what share of them is reached, and what an hour
costs, are ASSUMED: none was at hand.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .passes import Work
from .shapes import Shape

LOGIT_BYTES = 32
"""Float32 logits are written, and gone through by softmax, sum and search: eight times 4 bytes."""


@dataclass(frozen=True)
class Device:
    """`flops_share`: of the peak, for drawing, passes and gradients (model-FLOPs utilisation).
    `call_seconds`: of a layer's kernels, besides their work. `memory`: bytes."""

    name: str
    peak_flops: float
    bandwidth: float
    memory: float
    dollars_an_hour: float
    flops_share: float
    bandwidth_share: float
    call_seconds: float
    logit_seconds: float

    def seconds(self, work: Work) -> float:
        computed = work.flops / (self.peak_flops * self.flops_share)
        read = (work.weight_bytes + work.cache_bytes) / (self.bandwidth * self.bandwidth_share)
        rest = work.logits * self.logit_seconds + work.calls * self.call_seconds
        return max(computed, read) + rest

    def dollars(self, seconds: float) -> float:
        return seconds / 3600 * self.dollars_an_hour

    def together(self, count: int, efficiency: float = 0.8) -> "Device":
        """`count` of them holding one model in parts, as one device (ASSUMED efficiency)."""
        if count == 1:
            return self
        speed = count * efficiency
        return Device(
            f"{count} × {self.name}",
            self.peak_flops * speed,
            self.bandwidth * speed,
            self.memory * count,
            self.dollars_an_hour * count,
            self.flops_share,
            self.bandwidth_share,
            self.call_seconds,
            self.logit_seconds / speed,
        )


def gpu(name: str, tera_flops: float, terabytes: float, gigabytes: float, price: float) -> Device:
    """From a data sheet: dense bfloat16 TFLOP/s, TB/s, GB; and an assumed price in $/h."""
    bandwidth = terabytes * 1e12
    return Device(
        name=name,
        peak_flops=tera_flops * 1e12,
        bandwidth=bandwidth,
        memory=gigabytes * 1e9,
        dollars_an_hour=price,
        flops_share=0.35,
        bandwidth_share=0.6,
        call_seconds=150e-6,
        logit_seconds=LOGIT_BYTES / (bandwidth * 0.6),
    )


H100 = gpu("H100 SXM", 989, 3.35, 80, 3.0)
H200 = gpu("H200 SXM", 989, 4.8, 141, 4.0)
GPUS = (H100, H200)
CORE_DOLLARS_AN_HOUR = 0.05
"""ASSUMED, of a core with 4 GB."""
USABLE = 0.9
"""Of a device's memory: the rest is the allocator's, the libraries' and the kernels'."""


def core(constants: Mapping[str, float], memory: float = 4e9) -> Device:
    """The core that was measured: seconds an operation, a logit and a call."""
    return Device(
        name="core",
        peak_flops=1 / constants["flop"],
        bandwidth=math.inf,
        memory=memory,
        dollars_an_hour=CORE_DOLLARS_AN_HOUR,
        flops_share=1.0,
        bandwidth_share=1.0,
        call_seconds=constants["call"],
        logit_seconds=constants["logit"],
    )


def fitting(shape: Shape, device: Device, spare: float = 0.3) -> Device:
    """As few of the device as hold the model's weights and leave a share of it for the rest."""
    count = math.ceil(shape.weight_bytes / (device.memory * USABLE * (1 - spare)))
    return device.together(1 << max(0, count - 1).bit_length())
