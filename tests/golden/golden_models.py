"""What the scripts that write models_*.json share.

A model in plain PyTorch computes in double precision. Weights and inputs come from a formula that the test
(tests/golden_models.cpp) computes too. Each entry has the names and shapes of parameters and buffers; the smaller models
also have outputs, losses and samples of gradients in training and in evaluation mode.
"""
import json
import math
import pathlib

import torch

HERE = pathlib.Path(__file__).parent
MASK = 0xFFFFFFFF


def name_hash(name):
    h = 2166136261  # FNV-1a
    for byte in name.encode():
        h = (h ^ byte) * 16777619 & MASK
    return h


def values(name, shape):
    """Uniform in [-1, 1), exact in fp32's 24 bits: a hash of the name and of the element's index."""
    x = (torch.arange(math.prod(shape), dtype=torch.int64) * 0x9E3779B1 + name_hash(name)) & MASK
    x = (x ^ (x >> 15)) * 0x2C1B3C6D & MASK
    x = (x ^ (x >> 12)) * 0x297A2D39 & MASK
    x = x ^ (x >> 15)
    return ((x >> 8).double() / 2**23 - 1).reshape(shape)


def numbers(name, shape, count):
    """Numbers from 0 to count - 1."""
    return ((values(name, shape) + 1) / 2 * count).floor().long()


def rounded(x):
    return x.float().double()


def fill(model):
    for name, t in list(model.named_parameters()) + list(model.named_buffers()):
        if name.endswith("num_batches_tracked"):
            continue
        v = values(name, tuple(t.shape))
        if t.dim() > 1:
            v = v * math.sqrt(6 / (t.shape[1] * math.prod(t.shape[2:])))
        elif name.endswith("running_var"):
            v = 1 + 0.5 * v
        elif name.endswith("weight"):
            v = 1 + 0.25 * v
        else:
            v = 0.125 * v
        t.data.copy_(rounded(v))


def number(x):
    return float(f"{float(x):.9g}")


def sample(x, count):
    flat = x.detach().flatten()
    count = min(count, flat.numel())
    step = flat.numel() // count
    return [number(flat[i * step + step // 2]) for i in range(count)]


def gradient(name, dw):
    """The norm, and four elements out of those that are not tiny."""
    flat = dw.flatten()
    index = (flat.abs() > 0.01 * flat.abs().max()).nonzero().flatten()
    index = index[:: max(1, len(index) // 4)][:4].tolist()
    return {"name": name, "norm": number(flat.norm()), "index": index, "values": [number(flat[i]) for i in index]}


def weighted(model, x):
    y = model(x)
    return y, (y * values("r", tuple(y.shape))).sum()


def mode(model, x, training, loss_of, gradients):
    model.train(training)
    model.zero_grad()
    y, loss = loss_of(model, x)
    made = {"output": sample(y, 32), "loss": number(loss)}
    if gradients:
        loss.backward()
        # A batch norm takes away what biases just before it add: their gradients are zero but for rounding.
        largest = max(p.grad.norm() for p in model.parameters())
        parameters = [(k, p) for k, p in model.named_parameters() if p.grad.norm() > 1e-6 * largest]
        picked = sorted({i * (len(parameters) - 1) // 9 for i in range(10)})
        made["gradients"] = [gradient(parameters[i][0], parameters[i][1].grad) for i in picked]
    return made


def entry(name, model, shape=None, loss_of=weighted, state=True, eval_gradients=False):
    made = {"name": name, "count": sum(p.numel() for p in model.parameters())}
    if state:
        made["state"] = [f"{k} {','.join(map(str, v.shape))}"
                         for k, v in list(model.named_parameters()) + list(model.named_buffers())]
    if shape:
        model = model.double()
        fill(model)
        before = {k: v.clone() for k, v in model.named_buffers()}
        x = values("x", shape)
        made["input"] = shape
        made["train"] = mode(model, x, True, loss_of, True)
        moved = [k for k, _ in model.named_buffers() if k.endswith("running_var")]
        if moved:
            made["running_var"] = {"name": moved[-1], "values": sample(dict(model.named_buffers())[moved[-1]], 4)}
        for k, v in model.named_buffers():
            v.copy_(before[k])
        made["eval"] = mode(model, x, False, loss_of, eval_gradients)
    return made


def write(family, entries):
    text = json.dumps({"made_with": "PyTorch " + torch.__version__.split("+")[0], "models": entries},
                      separators=(",", ":"))
    for key in ('{"name":', '"state":', '"train":', '"eval":'):
        text = text.replace(key, "\n" + key)
    path = HERE / f"models_{family}.json"
    path.write_text(text + "\n")
    print(path.name, path.stat().st_size, [(e["name"], e["count"]) for e in entries])
