"""Writes tests/golden/*.json: inputs, outputs and gradients of PyTorch, in double precision, for golden_test.cpp.

Usage: python3 tests/golden/make_golden.py  (needs PyTorch 2.6 or later)
"""
import itertools
import json
import pathlib

import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).parent
torch.manual_seed(20240501)


def randn(*shape):
    # Exact in fp32, so that the device starts from the same values.
    return torch.randn(shape, dtype=torch.float32).double()


def plain(x):
    return {"shape": list(x.shape),
            "values": [int(v) if not x.is_floating_point() else float(f"{v:.9g}") for v in x.detach().flatten().tolist()]}


def write(name, cases):
    text = json.dumps({"made_with": "PyTorch " + torch.__version__.split("+")[0], "cases": cases},
                      separators=(",", ":"))
    (HERE / f"{name}.json").write_text(text.replace('{"options"', '\n{"options"') + "\n")


def case(options, inputs, function):
    """Output and gradients of sum(dy * output); inputs named dy are not differentiated."""
    xs = {k: v.clone().requires_grad_() if v.is_floating_point() else v for k, v in inputs.items()}
    y = function(**xs)
    dy = randn(*y.shape)
    differentiable = [k for k, v in xs.items() if v.is_floating_point() and not k.startswith("_")]
    grads = torch.autograd.grad(y, [xs[k] for k in differentiable], dy)
    return {"options": options, "inputs": {k: plain(v) for k, v in inputs.items()}, "y": plain(y), "dy": plain(dy),
            "gradients": {k: plain(g) for k, g in zip(differentiable, grads)}}


def cross_entropy():
    cases = []
    for probabilities, weighted, smoothing, reduction in itertools.product(
            (False, True), (False, True), (0.0, 0.125), ("mean", "sum", "none")):
        logits = randn(5, 4) * 2
        if probabilities:
            targets = torch.softmax(randn(5, 4), -1).float().double()
        else:
            targets = torch.tensor([0, 3, 1, 1, 2])
        weights = (torch.rand(4) + 0.5).double() if weighted else None
        inputs = {"logits": logits, "targets": targets}
        ignore = -100 if probabilities else 1

        def loss(logits, targets):
            return F.cross_entropy(logits, targets, weight=weights, ignore_index=ignore, reduction=reduction,
                                   label_smoothing=smoothing)

        made = case({"smoothing": smoothing, "reduction": reduction, "ignore_index": ignore}, inputs, loss)
        if weighted:
            made["weights"] = plain(weights)
        cases.append(made)
    write("cross_entropy", cases)


def functions():
    write("layernorm", [
        case({"epsilon": epsilon}, {"x": randn(*shape) + 3, "weight": randn(shape[-1]), "bias": randn(shape[-1])},
             lambda x, weight, bias: F.layer_norm(x, x.shape[-1:], weight, bias, epsilon))
        for shape, epsilon in [((4, 9), 1e-5), ((2, 3, 16), 1e-3)]])
    for name, function in (("softmax", torch.softmax), ("log_softmax", torch.log_softmax)):
        write(name, [case({"axis": axis}, {"x": randn(*shape) * 3}, lambda x: function(x, axis))
                     for shape, axis in [((4, 11), -1), ((5, 3), 0), ((2, 4, 3), 1)]])
    write("gelu", [case({"form": form}, {"x": torch.linspace(-6, 6, 49).double()},
                        lambda x: F.gelu(x, approximate=form)) for form in ("none", "tanh")])
    write("embedding", [case({}, {"weight": randn(6, 3), "index": torch.tensor([[1, 5, 1], [0, 1, 5]])},
                             lambda weight, index: F.embedding(index, weight))])


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023, algorithm 2."""

    def __init__(self, params, lr, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                b1, b2 = group["betas"]
                update = (b1 * m + (1 - b1) * p.grad).sign()
                p.sub_(group["lr"] * (update + group["weight_decay"] * p))
                m.mul_(b2).add_(p.grad, alpha=1 - b2)


def optimizers():
    optim = torch.optim
    runs = [
        ("sgd", optim.SGD, {}), ("sgd", optim.SGD, {"weight_decay": 0.1}), ("sgd", optim.SGD, {"momentum": 0.9}),
        ("sgd", optim.SGD, {"momentum": 0.9, "dampening": 0.4, "weight_decay": 0.01}),
        ("sgd", optim.SGD, {"momentum": 0.9, "nesterov": True}),
        ("rmsprop", optim.RMSprop, {}), ("rmsprop", optim.RMSprop, {"alpha": 0.9, "momentum": 0.8}),
        ("rmsprop", optim.RMSprop, {"centered": True, "eps": 1e-3}),
        ("rmsprop", optim.RMSprop, {"centered": True, "momentum": 0.5, "weight_decay": 0.1, "eps": 1e-3}),
        ("adagrad", optim.Adagrad, {}), ("adagrad", optim.Adagrad, {"lr_decay": 0.1, "weight_decay": 0.1}),
        ("adam", optim.Adam, {}), ("adam", optim.Adam, {"betas": (0.8, 0.95), "weight_decay": 0.1}),
        ("adam", optim.Adam, {"amsgrad": True, "betas": (0.9, 0.9)}), ("adamw", optim.AdamW, {"weight_decay": 0.1}),
        ("nadam", optim.NAdam, {}),
        ("nadam", optim.NAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True, "momentum_decay": 0.1}),
        ("nadam", optim.NAdam, {"weight_decay": 0.1}), ("lion", Lion, {}), ("lion", Lion, {"weight_decay": 0.1}),
    ]
    cases = []
    for rule, make, options in runs:
        w = randn(4).requires_grad_()
        lr = 0.01
        start = plain(w)
        optimizer = make([w], lr=lr, **options)
        dws, ws = [], []
        for step in range(24):
            # Shrinking, so that AMSGrad's maximum matters.
            w.grad = (randn(4) * 0.9**step).float().double()
            dws.append(plain(w.grad)["values"])
            optimizer.step()
            ws.append(plain(w)["values"])
        cases.append({"options": {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}, "rule": rule,
                      "lr": lr, "start": start, "dw": dws, "w": ws})
    write("optimizers", cases)


def norms():
    cases = []
    for shape, epsilon, momentum in [((3, 2, 4, 5), 1e-5, 0.25), ((6, 3), 1e-3, None), ((2, 3, 7), 1e-5, 0.1)]:
        channels = shape[1]
        make = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d}[len(shape)]
        layer = make(channels, eps=epsilon, momentum=momentum, dtype=torch.float64)
        inputs = {"x": randn(*shape) + 3, "weight": randn(channels), "bias": randn(channels)}

        def normalize(x, weight, bias):
            return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

        layer(randn(*shape))
        first = {k: plain(v) for k, v in layer.named_buffers()}
        made = case({"epsilon": epsilon, "momentum": momentum}, inputs, normalize)
        layer.eval()
        made.update({"before": first, "after": {k: plain(v) for k, v in layer.named_buffers()},
                     "eval": plain(normalize(**inputs))})
        cases.append(made)
    write("batchnorm", cases)
    write("groupnorm", [
        case({"groups": groups}, {"x": randn(*shape) + 3, "weight": randn(shape[1]), "bias": randn(shape[1])},
             lambda x, weight, bias: F.group_norm(x, groups, weight, bias))
        for shape, groups in [((2, 6, 5), 3), ((3, 4, 2, 3), 4)]])


def pools():
    maxima = [({"kernel": [3, 2], "stride": [2, 2], "padding": [1, 1], "dilation": [1, 1], "ceil": True}, (2, 2, 6, 5)),
              ({"kernel": [2, 3], "stride": [1, 2], "padding": [0, 1], "dilation": [2, 1], "ceil": False}, (1, 2, 6, 7)),
              ({"kernel": [2], "stride": [3], "padding": [1], "dilation": [1], "ceil": True}, (1, 3, 8))]
    cases = []
    for options, shape in maxima:
        pool = [F.max_pool1d, F.max_pool2d][len(shape) - 3]

        def run(x, indices=False):
            return pool(x, options["kernel"], options["stride"], options["padding"], options["dilation"], options["ceil"],
                        indices)

        made = case(options, {"x": randn(*shape)}, run)
        x = torch.tensor(made["inputs"]["x"]["values"], dtype=torch.float64).reshape(shape)
        made["index"] = plain(run(x, True)[1])
        cases.append(made)
    write("maxpool", cases)
    averages = [({"kernel": [3, 2], "stride": [2, 2], "padding": [1, 1], "ceil": True, "include": True, "divisor": 0}, (2, 2, 6, 5)),
                ({"kernel": [3, 3], "stride": [2, 1], "padding": [1, 0], "ceil": True, "include": False, "divisor": 0}, (1, 2, 6, 5)),
                ({"kernel": [2, 2], "stride": [3, 2], "padding": [1, 1], "ceil": False, "include": True, "divisor": 3}, (1, 2, 6, 5))]
    write("avgpool", [case(o, {"x": randn(*shape)}, lambda x: F.avg_pool2d(
        x, o["kernel"], o["stride"], o["padding"], o["ceil"], o["include"], o["divisor"] or None)) for o, shape in averages])
    write("adaptive_avgpool", [case({"size": size}, {"x": randn(1, 2, 7, 5)}, lambda x: F.adaptive_avg_pool2d(x, size))
                               for size in ((3, 2), (4, 7))])
    write("adaptive_maxpool", [case({"size": (3, 4)}, {"x": randn(1, 2, 7, 5)}, lambda x: F.adaptive_max_pool2d(x, (3, 4)))])
    write("lppool", [case({"p": p, "kernel": kernel, "stride": stride, "ceil": ceil}, {"x": randn(1, 2, 6, 5).abs() + 0.1},
                          lambda x: F.lp_pool2d(x, p, kernel, stride, ceil))
                     for p, kernel, stride, ceil in ((2, (2, 3), (2, 2), False), (3, (3, 2), (2, 2), True))])
    write("local_response_norm", [
        case({"size": size, "alpha": alpha, "beta": beta, "k": k}, {"x": randn(2, 6, 3)},
             lambda x: F.local_response_norm(x, size, alpha, beta, k))
        for size, alpha, beta, k in ((3, 0.5, 0.75, 1.0), (4, 1.0, 0.5, 2.0))])


def images():
    cases = []
    for mode, align, shape, to in [("nearest", None, (1, 2, 3, 4), (7, 5)), ("bilinear", False, (1, 2, 3, 4), (7, 5)),
                                   ("bilinear", True, (1, 2, 3, 4), (7, 5)), ("bicubic", False, (1, 2, 5, 4), (7, 3)),
                                   ("bicubic", True, (1, 2, 3, 4), (7, 5)), ("linear", False, (1, 2, 5), (8,)),
                                   ("trilinear", True, (1, 1, 2, 3, 2), (3, 4, 3)), ("bilinear", False, (1, 2, 3, 4), 1.7),
                                   ("bicubic", False, (1, 1, 5, 4), 1.3), ("nearest", None, (1, 2, 5, 6), 1.7)]:
        by = {"scale_factor": to} if isinstance(to, float) else {"size": to}
        cases.append(case({"mode": mode, "align_corners": bool(align), **by}, {"x": randn(*shape)},
                          lambda x: F.interpolate(x, mode=mode, align_corners=align, **by)))
    write("interpolate", cases)
    write("grid_sample", [
        case({"mode": mode, "padding": padding, "align_corners": align},
             {"x": randn(1, 2, 4, 5), "grid": (torch.rand(1, 3, 4, 2) * 2.6 - 1.3).double()},
             lambda x, grid: F.grid_sample(x, grid, mode, padding, align))
        for mode, padding, align in itertools.product(("bilinear", "nearest"), ("zeros", "border"), (False, True))])


def convolutions():
    conv = [((2, 3, 6), (4, 3, 3), dict(stride=2, padding=1)), ((1, 2, 9), (3, 2, 2), dict(dilation=3)),
            ((2, 4, 5, 6), (6, 2, 3, 3), dict(stride=(2, 1), padding=(1, 2), groups=2)),
            ((1, 3, 5, 5), (3, 1, 3, 3), dict(padding=1, groups=3)), ((1, 2, 4, 5), (3, 2, 2, 4), dict(padding="same")),
            ((1, 2, 3, 4, 4), (2, 2, 2, 3, 2), dict(stride=(1, 2, 1), padding=(1, 0, 1)))]
    transposed = [((2, 3, 4), (3, 2, 3), dict(stride=2, output_padding=1)),
                  ((1, 4, 3, 4), (4, 3, 3, 2), dict(stride=(2, 3), padding=(1, 0), groups=2)),
                  ((1, 2, 4, 3), (2, 2, 3, 3), dict(stride=2, dilation=2, padding=1, output_padding=1)),
                  ((1, 2, 2, 3, 2), (2, 1, 2, 2, 3), dict(stride=2))]
    for name, cases in (("conv", conv), ("conv_transpose", transposed)):
        function = lambda axes: getattr(F, f"{name}{axes}d")
        write(name, [case(options, {"x": randn(*x), "weight": randn(*w)},
                          lambda x, weight: function(x.dim() - 2)(x, weight, **options)) for x, w, options in cases])


def attention():
    cases = []
    for options, q, k, mask in [({"causal": False, "scale": 0.0}, (2, 2, 5, 8), (2, 2, 7, 8), None),
                                ({"causal": True, "scale": 0.0}, (1, 4, 9, 5), (1, 4, 9, 5), None),
                                ({"causal": True, "scale": 0.3}, (1, 4, 6, 4), (1, 2, 6, 4), None),
                                ({"causal": False, "scale": 0.0}, (2, 2, 4, 6), (2, 1, 9, 6), (4, 9))]:
        inputs = {"q": randn(*q), "k": randn(*k), "v": randn(*k)}
        if mask:
            inputs["mask"] = randn(*mask)
        cases.append(case(options, inputs, lambda q, k, v, mask=None: F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=options["causal"], scale=options["scale"] or None, enable_gqa=True)))
    write("attention", cases)


cross_entropy()
functions()
optimizers()
norms()
pools()
images()
convolutions()
attention()
