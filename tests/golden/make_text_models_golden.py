"""Writes tests/golden/models_*.json for text_models_test.cpp: models of sequences in plain PyTorch.

Usage: python3 tests/golden/make_text_models_golden.py [FAMILY...]  (needs PyTorch 2.6 or later)
"""
import sys

import torch
import torch.nn as nn
import torch.nn.functional as F

from golden_models import entry, numbers, values, write


class LoraLayer:
    """A layer with an adapter of Hu et al. 2021, named as PEFT's."""
    def adapt(self, inp, out, rank, alpha):
        self.lora_A = nn.Linear(inp, rank, bias=False)
        self.lora_B = nn.Linear(rank, out, bias=False)
        self.scale = alpha / rank

    def forward(self, x):
        return super().forward(x) + self.lora_B(self.lora_A(x)) * self.scale


class Conv1D(nn.Module):
    """GPT-2's: a Linear whose weight stands the other way."""
    def __init__(self, inp, out):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inp, out))
        self.bias = nn.Parameter(torch.empty(out))

    def forward(self, x):
        return x @ self.weight + self.bias


class LoraLinear(LoraLayer, nn.Linear): pass
class LoraConv1D(LoraLayer, Conv1D): pass


class Adapted(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = LoraLinear(9, 13)
        self.first.adapt(9, 13, 2, 6)
        self.second = LoraConv1D(13, 7)
        self.second.adapt(13, 7, 2, 6)
        self.last = nn.Linear(7, 5)

    def forward(self, x):
        return self.last(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Seq2Seq(nn.Module):
    def __init__(self, layers=1):
        super().__init__()
        self.source_embedding = nn.Embedding(11, 5, padding_idx=0)
        self.encoder = nn.LSTM(5, 7, layers, batch_first=True)
        self.target_embedding = nn.Embedding(13, 5, padding_idx=0)
        self.decoder = nn.LSTM(5, 7, layers, batch_first=True)
        self.attention = nn.Linear(7, 7, bias=False)
        self.combine = nn.Linear(14, 7, bias=False)
        self.output = nn.Linear(7, 13)

    def forward(self, source, target, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(self.source_embedding(source), lengths, batch_first=True,
                                                   enforce_sorted=False)
        states, last = self.encoder(packed)
        states = nn.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=source.shape[1])[0]
        h = self.decoder(self.target_embedding(target), last)[0]
        scores = h @ self.attention(states).mT
        beyond = torch.arange(source.shape[1])[None, None, :] >= lengths[:, None, None]
        weights = scores.masked_fill(beyond, -torch.inf).softmax(-1)
        return self.output(torch.tanh(self.combine(torch.cat([weights @ states, h], 2))))


def weigh(y):
    return y, (y * values("r", tuple(y.shape))).sum()


def translated(model, x):
    """Of 3 sources of 6, 4 and 1 tokens."""
    return weigh(model(numbers("source", (3, 6), 11), numbers("target", (3, 4), 13), torch.tensor([6, 4, 1])))


FAMILIES = {
    "lora": lambda: [entry("lora", Adapted(), (4, 9), eval_gradients=True)],
    "seq2seq": lambda: [entry("seq2seq", Seq2Seq(), (1,), translated, eval_gradients=True),
                        entry("seq2seq deep", Seq2Seq(2), (1,), translated)],
}
for family in sys.argv[1:] or FAMILIES:
    write(family, FAMILIES[family]())
