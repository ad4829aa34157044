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


def positions(t, size):
    angle = torch.arange(t, dtype=torch.double)[:, None] / 10000 ** (torch.arange(size) // 2 * 2 / size)
    return torch.where(torch.arange(size) % 2 == 0, angle.sin(), angle.cos())


class Translator(nn.Module):
    def __init__(self, shared, norm_first=False):
        super().__init__()
        if shared:
            self.embedding = nn.Embedding(13, 8, padding_idx=0)
        else:
            self.source_embedding = nn.Embedding(11, 8, padding_idx=0)
            self.target_embedding = nn.Embedding(13, 8, padding_idx=0)
        self.transformer = nn.Transformer(8, 2, 2, 2, 12, 0, batch_first=True, norm_first=norm_first)
        if not shared:
            self.output = nn.Linear(8, 13)

    def forward(self, source, target, lengths):
        shared = hasattr(self, "embedding")
        source_table, target_table = (self.embedding,) * 2 if shared else (self.source_embedding, self.target_embedding)
        def embed(table, x):
            return table(x) * 8**0.5 + positions(x.shape[1], 8)
        beyond = torch.arange(source.shape[1])[None, :] >= lengths[:, None]
        later = torch.ones(target.shape[1], target.shape[1], dtype=bool).triu(1)
        y = self.transformer(embed(source_table, source), embed(target_table, target), tgt_mask=later,
                             src_key_padding_mask=beyond, memory_key_padding_mask=beyond)
        return y @ self.embedding.weight.T if shared else self.output(y)


def container(**children):
    module = nn.Module()
    for name, child in children.items():
        module.add_module(name, child)
    return module


class BertModel(nn.Module):
    def __init__(self, vocabulary=30522, positions=512, types=2, size=768, layers=12, heads=12, hidden=3072,
                 pooler=True):
        super().__init__()
        def norm(): return nn.LayerNorm(size, 1e-12)
        self.heads = heads
        self.embeddings = container(word_embeddings=nn.Embedding(vocabulary, size, padding_idx=0),
                                    position_embeddings=nn.Embedding(positions, size),
                                    token_type_embeddings=nn.Embedding(types, size), LayerNorm=norm())
        self.encoder = container(layer=nn.ModuleList([container(
            attention=container(
                self=container(query=nn.Linear(size, size), key=nn.Linear(size, size), value=nn.Linear(size, size)),
                output=container(dense=nn.Linear(size, size), LayerNorm=norm())),
            intermediate=container(dense=nn.Linear(size, hidden)),
            output=container(dense=nn.Linear(hidden, size), LayerNorm=norm())) for _ in range(layers)]))
        if pooler:
            self.pooler = container(dense=nn.Linear(size, size))

    def forward(self, ids, lengths, types=None):
        e = self.embeddings
        types = torch.zeros_like(ids) if types is None else types
        x = e.LayerNorm(e.word_embeddings(ids) + e.token_type_embeddings(types) +
                        e.position_embeddings.weight[:ids.shape[1]])
        seen = (torch.arange(ids.shape[1])[None, :] < lengths[:, None])[:, None, None, :]
        for layer in self.encoder.layer:
            a = layer.attention
            q, k, v = (f(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
                       for f in (getattr(a.self, name) for name in ("query", "key", "value")))
            scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~seen, -torch.inf)
            y = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
            x = a.output.LayerNorm(x + a.output.dense(y))
            x = layer.output.LayerNorm(x + layer.output.dense(F.gelu(layer.intermediate.dense(x))))
        return x

    def pooled(self, x):
        return torch.tanh(self.pooler.dense(x[:, 0]))


class BertForMaskedLM(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.bert = BertModel(pooler=False, **options)
        vocabulary, size = self.bert.embeddings.word_embeddings.weight.shape
        predictions = nn.Module()
        predictions.bias = nn.Parameter(torch.zeros(vocabulary))
        predictions.transform = container(dense=nn.Linear(size, size), LayerNorm=nn.LayerNorm(size, 1e-12))
        self.cls = container(predictions=predictions)

    def forward(self, *inputs):
        p = self.cls.predictions
        y = p.transform.LayerNorm(F.gelu(p.transform.dense(self.bert(*inputs))))
        return y @ self.bert.embeddings.word_embeddings.weight.T + p.bias


class BertForSequenceClassification(nn.Module):
    def __init__(self, classes, **options):
        super().__init__()
        self.bert = BertModel(**options)
        self.classifier = nn.Linear(self.bert.pooler.dense.out_features, classes)

    def forward(self, *inputs):
        return self.classifier(self.bert.pooled(self.bert(*inputs)))


class BertForQuestionAnswering(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.bert = BertModel(pooler=False, **options)
        self.qa_outputs = nn.Linear(self.bert.encoder.layer[0].output.dense.out_features, 2)

    def forward(self, *inputs):
        return torch.cat(self.qa_outputs(self.bert(*inputs)).unbind(2), 1)


SMALL_BERT = {"vocabulary": 17, "positions": 9, "size": 8, "layers": 2, "heads": 2, "hidden": 12}


class RmsNorm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * self.weight


class Llama(nn.Module):
    def __init__(self, vocabulary, size, layers, hidden, heads, kv_heads, window=None, tied=False, base=10000):
        super().__init__()
        self.heads, self.kv_heads, self.window, self.base = heads, kv_heads, window, base
        def linear(inp, out): return nn.Linear(inp, out, bias=False)
        kv = size // heads * kv_heads
        self.model = container(embed_tokens=nn.Embedding(vocabulary, size), layers=nn.ModuleList([container(
            self_attn=container(q_proj=linear(size, size), k_proj=linear(size, kv), v_proj=linear(size, kv),
                                o_proj=linear(size, size)),
            mlp=container(gate_proj=linear(size, hidden), up_proj=linear(size, hidden), down_proj=linear(hidden, size)),
            input_layernorm=RmsNorm(size), post_attention_layernorm=RmsNorm(size)) for _ in range(layers)]),
            norm=RmsNorm(size))
        if not tied:
            self.lm_head = linear(size, vocabulary)

    def forward(self, ids):
        m, t = self.model, ids.shape[1]
        x = m.embed_tokens(ids)
        d = x.shape[2] // self.heads
        angle = torch.arange(t, dtype=torch.double)[:, None] * self.base ** (-torch.arange(0, d, 2).double() / d)
        cos, sin = (f(torch.cat([angle, angle], 1)) for f in (torch.cos, torch.sin))
        def turn(y): return y * cos + torch.cat([-y[..., d // 2:], y[..., : d // 2]], -1) * sin
        distance = torch.arange(t)[:, None] - torch.arange(t)
        hidden = (distance < 0) | (distance >= (self.window or t))
        for layer in m.layers:
            a, f = layer.self_attn, layer.mlp
            h = layer.input_layernorm(x)
            def split(y): return y.unflatten(2, (-1, d)).transpose(1, 2)
            q, k, v = turn(split(a.q_proj(h))), turn(split(a.k_proj(h))), split(a.v_proj(h))
            k, v = (y.repeat_interleave(self.heads // self.kv_heads, 1) for y in (k, v))
            p = (q @ k.mT / d**0.5).masked_fill(hidden, -torch.inf).softmax(-1)
            x = x + a.o_proj((p @ v).transpose(1, 2).flatten(2))
            h = layer.post_attention_layernorm(x)
            x = x + f.down_proj(F.silu(f.gate_proj(h)) * f.up_proj(h))
        head = self.lm_head if hasattr(self, "lm_head") else m.embed_tokens
        return m.norm(x) @ head.weight.T


def weigh(y):
    return y, (y * values("r", tuple(y.shape))).sum()


def translated(model, x):
    """Of 3 sources of 6, 4 and 1 tokens."""
    return weigh(model(numbers("source", (3, 6), 11), numbers("target", (3, 4), 13), torch.tensor([6, 4, 1])))


def masked(model, x):
    """Of 3 texts of 6, 4 and 1 tokens, whose types are 0 and 1."""
    return weigh(model(numbers("ids", (3, 6), 17), torch.tensor([6, 4, 1]), numbers("types", (3, 6), 2)))


def continued(model, x):
    return weigh(model(numbers("ids", (3, 6), 17)))


FAMILIES = {
    "lora": lambda: [entry("lora", Adapted(), (4, 9), eval_gradients=True)],
    "seq2seq": lambda: [entry("seq2seq", Seq2Seq(), (1,), translated, eval_gradients=True),
                        entry("seq2seq deep", Seq2Seq(2), (1,), translated)],
    "translator": lambda: [entry("translator", Translator(False), (1,), translated, eval_gradients=True),
                           entry("translator shared", Translator(True, True), (1,), translated)],
    "bert": lambda: [entry("bert base", BertModel()),
                     entry("masked", BertForMaskedLM(**SMALL_BERT), (1,), masked, eval_gradients=True),
                     entry("classes", BertForSequenceClassification(3, **SMALL_BERT), (1,), masked),
                     entry("answers", BertForQuestionAnswering(**SMALL_BERT), (1,), masked)],
    "llama": lambda: [entry("llama", Llama(17, 8, 2, 12, 2, 2), (1,), continued, eval_gradients=True),
                      entry("llama grouped", Llama(17, 16, 2, 20, 4, 2, 3, True, 500), (1,), continued)],
}
for family in sys.argv[1:] or FAMILIES:
    write(family, FAMILIES[family]())
