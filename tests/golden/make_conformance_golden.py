"""Writes tools/stithy/conformance_curves.json: the loss curves of the short training runs of `stithy conformance`.

Plain PyTorch in double precision; weights and batches come from the formula of golden_models.py, which
tools/stithy/conformance_training.cpp computes too. Single precision leaves that curve a little more with every step, and how
much depends on the order in which a driver adds. PyTorch's own single precision is one sample of it: its largest deviation
is `drift`, relative to the larger of 1 and the loss. `tolerance` is 30 times that, and at least 1e-5: summation in another
order, such as long sums in f32 without PyTorch's blocks, is some times less exact, but not tens of times. That it still finds
mistakes is shown by `detects`: the deviation of the same run with a learning rate that is 1 percent too high, which must be
at least twice the tolerance.

Usage: python3 tests/golden/make_conformance_golden.py  (needs PyTorch 2.6 or later)
"""
import json
import pathlib

import torch
import torch.nn as nn
import torch.nn.functional as F

from golden_models import fill, numbers, values

OUT = pathlib.Path(__file__).parents[2] / "tools/stithy/conformance_curves.json"


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.output = nn.Linear(64, 4)

    def forward(self, x):
        return self.output(F.relu(self.hidden(x)))


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.fc = nn.Linear(16 * 9, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        return self.fc(torch.flatten(x, 1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 24, batch_first=True)
        self.output = nn.Linear(24, 1)

    def forward(self, x):
        return self.output(self.lstm(x)[0])


class Conv1D(nn.Module):
    def __init__(self, inp, out):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inp, out))
        self.bias = nn.Parameter(torch.empty(out))

    def forward(self, x):
        return x @ self.weight + self.bias


class GptBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = nn.Module(), nn.Module()
        self.attn.c_attn, self.attn.c_proj = Conv1D(width, 3 * width), Conv1D(width, width)
        self.mlp.c_fc, self.mlp.c_proj = Conv1D(width, 4 * width), Conv1D(4 * width, width)

    def forward(self, x):
        n, t, width = x.shape
        q, k, v = (p.reshape(n, t, self.heads, -1).transpose(1, 2) for p in self.attn.c_attn(self.ln_1(x)).split(width, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn.c_proj(y.transpose(1, 2).reshape(n, t, width))
        return x + self.mlp.c_proj(F.gelu(self.mlp.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, vocabulary=16, context=16, layers=2, heads=2, width=32):
        super().__init__()
        self.transformer = nn.Module()
        self.transformer.wte = nn.Embedding(vocabulary, width)
        self.transformer.wpe = nn.Embedding(context, width)
        self.transformer.h = nn.ModuleList([GptBlock(width, heads) for _ in range(layers)])
        self.transformer.ln_f = nn.LayerNorm(width)

    def forward(self, tokens):
        t = self.transformer
        x = t.wte(tokens) + t.wpe.weight[: tokens.shape[1]]
        for block in t.h:
            x = block(x)
        return t.ln_f(x) @ t.wte.weight.T


def mlp_batch(step):
    x = values(f"mlp.{step}", (32, 16))
    return x, (x[:, 0] > 0).long() * 2 + (x[:, 1] > 0).long()


def cnn_batch(step):
    """Noise, and a bright square in one of four corners."""
    x = values(f"cnn.{step}", (16, 1, 12, 12)) * 0.5
    corner = torch.arange(16) % 4
    for i, c in enumerate(corner.tolist()):
        row, column = 6 * (c // 2), 6 * (c % 2)
        x[i, 0, row + 1:row + 5, column + 1:column + 5] += 1
    return x, corner


def lstm_batch(step):
    """Mean of the first two channels, one step late."""
    x = values(f"lstm.{step}", (16, 12, 4))
    y = torch.zeros(16, 12, 1, dtype=torch.float64)
    y[:, 1:, 0] = (x[:, :-1, 0] + x[:, :-1, 1]) * 0.5
    return x, y


def gpt_batch(step):
    """Each token is 5 times the one before and 3, modulo 16."""
    tokens = [numbers(f"gpt.{step}", (8,), 16)]
    for _ in range(16):
        tokens.append((tokens[-1] * 5 + 3) % 16)
    tokens = torch.stack(tokens, 1)
    return tokens[:, :-1], tokens[:, 1:]


def cross_entropy(logits, target):
    return F.cross_entropy(logits.flatten(0, -2), target.flatten())


# model, batch, loss, optimizer, learning rate, limit of the gradient's norm (0: none), steps
RUNS = {
    "mlp": (Mlp, mlp_batch, cross_entropy, torch.optim.Adam, 1e-2, 0, 60),
    "cnn": (Cnn, cnn_batch, cross_entropy, lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9), 1e-2, 0, 30),
    "lstm": (Recurrent, lstm_batch, F.mse_loss, torch.optim.RMSprop, 1e-2, 0.5, 40),
    "gpt": (Gpt, gpt_batch, cross_entropy, torch.optim.AdamW, 3e-3, 1, 40),
}


def curve(name, dtype, lr_factor=1.0):
    model, batch, loss_of, optimizer, lr, limit, steps = RUNS[name]
    model = model().double()
    fill(model)
    model = model.to(dtype).train()
    optimizer = optimizer(model.parameters(), lr=lr * lr_factor)
    losses = []
    for step in range(steps):
        x, y = (t.to(dtype) if t.is_floating_point() else t for t in batch(step))
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        if limit:
            norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
            for p in model.parameters():
                p.grad *= (limit / norm).clamp(max=1)
        optimizer.step()
        losses.append(loss.item())
    return losses


def deviation(losses, reference):
    return max(abs(a - b) / max(1, abs(b)) for a, b in zip(losses, reference))


def main():
    runs = []
    for name in RUNS:
        reference = curve(name, torch.float64)
        drift = deviation(curve(name, torch.float32), reference)
        detects = deviation(curve(name, torch.float64, 1.01), reference)
        tolerance = float(f"{max(30 * drift, 1e-5):.1e}")
        print(f"{name}: {reference[0]:.4f} to {reference[-1]:.4f}, drift {drift:.1e}, tolerance {tolerance:.1e}, "
              f"detects {detects:.1e}")
        assert detects > 2 * tolerance
        runs.append({"name": name, "tolerance": tolerance, "drift": float(f"{drift:.2g}"),
                     "detects": float(f"{detects:.2g}"), "loss": [float(f"{v:.9g}") for v in reference]})
    text = json.dumps({"made_with": "PyTorch " + torch.__version__.split("+")[0], "runs": runs}, separators=(",", ":"))
    OUT.write_text(text.replace('{"name":', '\n{"name":') + "\n")


if __name__ == "__main__":
    main()
