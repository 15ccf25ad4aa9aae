"""NVIDIA's GPUs, by their data sheets. What share of the peak training reaches is assumed: none was measured here."""

from __future__ import annotations

from overfit_lab.sweeps.cost.hardware import Hardware

ASSUMED = {"bf16": 0.15, "fp32": 0.4}
"""Share of the dense peak in training convolutional networks. An assumption, and the weakest number of all here: a
tensor core is seldom fed by small images, so anything from 0.05 to 0.3 may come out in bf16."""
LAUNCH = 5e-6
"""Seconds to launch a kernel from eager code; an assumption."""
LATENCY = 1e-5
"""Seconds of a message between two GPUs of one machine; an assumption."""
GB = 10**9


def gpu(title: str, peak: dict[str, float], memory: int, link: float, sheet: str) -> Hardware:
    """One GPU.

    Args:
        title: its name.
        peak: TFLOP/s by precision, dense.
        memory: GB.
        link: GB/s to another GPU, one direction.
        sheet: which document says so.
    """
    return Hardware(
        title=title,
        peak={precision: 1e12 * value for precision, value in peak.items()},
        share={precision: ASSUMED[precision] for precision in peak},
        op_seconds=LAUNCH,
        overlaps=True,
        source=f"{sheet}; shares of the peak and launch time are assumed",
        memory_bytes=memory * GB,
        link_bytes=link * GB,
        link_latency=LATENCY,
    )


REGISTER = {
    "h200": gpu("NVIDIA H200 SXM", {"bf16": 989, "fp32": 67}, 141, 450, "NVIDIA H200 Tensor Core GPU data sheet"),
    "h100": gpu("NVIDIA H100 SXM", {"bf16": 989, "fp32": 67}, 80, 450, "NVIDIA H100 Tensor Core GPU data sheet"),
    "a100": gpu(
        "NVIDIA A100 SXM 80 GB", {"bf16": 312, "fp32": 19.5}, 80, 300, "NVIDIA A100 Tensor Core GPU data sheet"
    ),
    "rtx4090": gpu(
        "NVIDIA GeForce RTX 4090", {"bf16": 165.2, "fp32": 82.6}, 24, 32, "NVIDIA Ada GPU architecture whitepaper"
    ),
    "v100": gpu("NVIDIA V100 SXM2 32 GB", {"fp32": 15.7}, 32, 150, "NVIDIA V100 Tensor Core GPU data sheet"),
}
"""bf16: tensor cores, dense, float32 accumulation; fp32: without tensor cores. Links: half of NVLink's both directions;
PCIe 4.0 x16 for the RTX 4090."""
