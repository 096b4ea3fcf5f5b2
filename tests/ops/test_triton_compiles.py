"""What Triton makes of the recurrence, for GPUs that need not be there: it compiles, finds room, and spills nothing.

The very launches of both passes are compiled, in a process of its own, where the interpreter is not on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not there, which has no build for this system")

#: Shared memory that a program can have on an A100, an H100 and a B200, in bytes.
ROOM = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}

COMPILE = """
import json, re, subprocess, sys, tempfile
from pathlib import Path
import torch, triton
from triton.backends.nvidia.compiler import get_ptxas
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction
from lstmreg.ops.fused_triton import masks, passes, problem
from lstmreg.ops import Call, Strengths
from lstmreg.ops.fused_triton.slopes import Slopes
from lstmreg.ops.recurrence import Cotangents, Kept
from lstmreg.ops.call import Differentiable
from tests.ops.arguments import Kind, make_call

capability, room, calls = json.loads(sys.argv[1])

class Absent:
    '''Stands where a driver would: compiling asks for nothing else.'''
    def get_current_target(self): return GPUTarget("cuda", capability, 32)
    def get_current_device(self): return 0
    def get_current_stream(self, device): return 0

driver.set_active(Absent())
problem.most_shared = passes.whole.most_shared = lambda device: room
seen = {}

def compile(kernel, grid):
    def launch(*arguments, **options):
        known = kernel.warmup(*arguments, grid=grid, **options)
        seen.setdefault(known.hash, (known, now))
    return launch

JITFunction.__getitem__ = compile

def assembled(kernel):
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder, "kernel.ptx")
        code.write_text(kernel.asm["ptx"])
        machine = re.search(r"\\.target (\\w+)", kernel.asm["ptx"]).group(1)
        program = get_ptxas(capability).path
        told = subprocess.run(
            [program, "-v", "--gpu-name", machine, code, "-o", Path(folder, "kernel.cubin")],
            check=True, capture_output=True, text=True,
        )
    return int(re.search(r"(\\d+) bytes spill stores", told.stderr).group(1))

for dtype, tf32, size, kind in calls:
    torch.backends.cudnn.rnn.fp32_precision = "tf32" if tf32 else "ieee"
    now = [dtype, tf32, size, kind]
    (x, h_0, c_0, w_ih, w_hh, bias), options = make_call(size, Kind(**kind), getattr(torch, dtype))
    own = options["input_mask"], options["recurrent_mask"], options["valid"]
    call = Call(x, h_0, c_0, w_ih, w_hh, bias, None, *own, options["reverse"])
    with torch.no_grad():
        passes.forward(call, False, False)
        (output, h_n, c_n), kept = passes.forward(call, True, False)
        strengths, needed = Strengths(*[(0.1, 0.1)] * 4), Differentiable(*[True] * 6)
        slopes = Slopes(strengths)
        if x.dtype is torch.float32:
            (output, h_n, c_n), kept, costs = passes.penalised(call, strengths)
            slopes = Slopes(strengths, *costs)
        passes.backward(call, output, kept, Cotangents(output, h_n, c_n), needed, slopes, False)

now = "masks"
rates, streams = torch.rand(2, dtype=torch.float64), (torch.zeros(2, dtype=torch.int64),) * 2
masks.draw(0.5, (4, 2, 3), 7, 4, torch.empty(0))
masks.draw(0.5, (4, 2, 3), 2**63 + 5, 2**40, torch.empty(0, dtype=torch.bfloat16))
masks.draw_of_models(rates, (4, 2, 3), *streams, torch.empty(0))

for kernel, of_call in seen.values():
    print(json.dumps([kernel.metadata.name, of_call, kernel.metadata.shared, assembled(kernel)]))
"""

EVERY = {"input_groups": 4, "recurrent_groups": 4}
USUAL = [
    ("float32", True, (2, 3, 8, 16), EVERY | {"K": 2}),
    ("float32", True, (2, 3, 32, 64), EVERY),
    ("float32", True, (2, 3, 128, 256), EVERY),
    ("bfloat16", True, (2, 3, 64, 128), EVERY),
]
MORE = [
    (dtype, tf32, size, kind)
    for dtype, tf32 in [("float32", True), ("float32", False), ("bfloat16", True), ("float16", True)]
    for size in [(2, 3, 1, 5), (2, 3, 7, 33), (2, 3, 33, 63), (2, 3, 65, 128), (2, 3, 768, 768), (2, 3, 127, 257)]
    for kind in [{}, {"recurrent_groups": 1}, EVERY | {"pattern": "holes", "reverse": True, "K": 2}]
]

#: Bytes that the assembler may put aside though it has registers left, which is its own choice.
_OWN_CHOICE = 32


def check(capability: int, calls: list[object], folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    told = subprocess.run(
        [sys.executable, "-c", COMPILE, json.dumps([capability, ROOM[capability], calls])],
        cwd=Path(__file__).parents[2],
        env=environment | {"TRITON_CACHE_DIR": str(folder)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    kernels = [json.loads(line) for line in told.splitlines()]
    products = {"add_input", "of_input", "of_weights"}
    assert {name for name, *_ in kernels} == {"forward", "backward", "sums", "add_slopes", "draw"} | products
    for name, of_call, shared, spilled in kernels:
        assert shared <= ROOM[capability], (name, of_call, shared)
        assert spilled <= _OWN_CHOICE, (name, of_call, spilled)


@pytest.mark.parametrize("capability", ROOM)
def test_what_is_usual_compiles_finds_room_and_spills_nothing(capability, tmp_path):
    check(capability, USUAL, tmp_path)


@pytest.mark.storm
@pytest.mark.parametrize("capability", ROOM)
def test_storm_everything_compiles_finds_room_and_spills_nothing(capability, tmp_path):
    check(capability, MORE, tmp_path)
