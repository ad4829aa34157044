"""Writes tests/golden/models_*.json for models_test.cpp: vision models and recurrent layers in plain PyTorch.

Usage: python3 tests/golden/make_models_golden.py  (needs PyTorch 2.6 or later)
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from golden_models import entry, values, write


class LeNet(nn.Module):
    def __init__(self, channels=1, classes=10, padding=0):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=padding)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc3(F.relu(self.fc2(x)))


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inplanes, planes, stride=1, downsample=None):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inplanes, planes, stride=1, downsample=None):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.downsample = downsample

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, block, layers, classes=1000, width=64):
        super().__init__()
        self.inplanes = width
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = self.make_layer(block, width, layers[0], 1)
        self.layer2 = self.make_layer(block, width * 2, layers[1], 2)
        self.layer3 = self.make_layer(block, width * 4, layers[2], 2)
        self.layer4 = self.make_layer(block, width * 8, layers[3], 2)
        self.fc = nn.Linear(width * 8 * block.expansion, classes)

    def make_layer(self, block, planes, blocks, stride):
        downsample = None
        if stride != 1 or self.inplanes != planes * block.expansion:
            downsample = nn.Sequential(nn.Conv2d(self.inplanes, planes * block.expansion, 1, stride, bias=False),
                                       nn.BatchNorm2d(planes * block.expansion))
        layers = [block(self.inplanes, planes, stride, downsample)]
        self.inplanes = planes * block.expansion
        layers += [block(self.inplanes, planes) for _ in range(1, blocks)]
        return nn.Sequential(*layers)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class CifarBlock(nn.Module):
    def __init__(self, in_planes, planes, stride, option):
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        self.planes = None
        if stride != 1 or in_planes != planes:
            if option == "A":
                self.planes = planes
            else:
                self.shortcut = nn.Sequential(nn.Conv2d(in_planes, planes, 1, stride, bias=False),
                                              nn.BatchNorm2d(planes))

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.planes:
            p = self.planes // 4
            return F.relu(out + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, p, p)))
        return F.relu(out + self.shortcut(x))


class CifarResNet(nn.Module):
    def __init__(self, depth, option):
        super().__init__()
        n = (depth - 2) // 6
        self.in_planes = 16
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self.make_layer(16, n, 1, option)
        self.layer2 = self.make_layer(32, n, 2, option)
        self.layer3 = self.make_layer(64, n, 2, option)
        self.linear = nn.Linear(64, 10)

    def make_layer(self, planes, n, stride, option):
        layers = []
        for s in [stride] + [1] * (n - 1):
            layers.append(CifarBlock(self.in_planes, planes, s, option))
            self.in_planes = planes
        return nn.Sequential(*layers)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(F.avg_pool2d(x, x.shape[3]).flatten(1))


def conv_norm_act(inp, out, kernel, stride, groups, act):
    layers = [nn.Conv2d(inp, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False), nn.BatchNorm2d(out)]
    return nn.Sequential(*layers, *([act()] if act else []))


def make_divisible(v):
    new = max(8, int(v + 4) // 8 * 8)
    return new + 8 if new < 0.9 * v else new


class InvertedResidual(nn.Module):
    def __init__(self, inp, oup, stride, t):
        super().__init__()
        hidden = inp * t
        layers = [conv_norm_act(inp, hidden, 1, 1, 1, nn.ReLU6)] if t != 1 else []
        self.conv = nn.Sequential(*layers, conv_norm_act(hidden, hidden, 3, stride, hidden, nn.ReLU6),
                                  nn.Conv2d(hidden, oup, 1, bias=False), nn.BatchNorm2d(oup))
        self.res = stride == 1 and inp == oup

    def forward(self, x):
        return x + self.conv(x) if self.res else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self, classes=1000, width=1.0, dropout=0.2):
        super().__init__()
        inp, last = make_divisible(32 * width), make_divisible(1280 * max(1.0, width))
        features = [conv_norm_act(3, inp, 3, 2, 1, nn.ReLU6)]
        for t, c, n, s in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
                           (6, 320, 1, 1)]:
            out = make_divisible(c * width)
            for i in range(n):
                features.append(InvertedResidual(inp, out, s if i == 0 else 1, t))
                inp = out
        features.append(conv_norm_act(inp, last, 1, 1, 1, nn.ReLU6))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, classes))

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels, squeeze):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeeze, 1)
        self.fc2 = nn.Conv2d(squeeze, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(F.silu(self.fc1(F.adaptive_avg_pool2d(x, 1)))))


class MBConv(nn.Module):
    def __init__(self, inp, out, expand, kernel, stride):
        super().__init__()
        hidden = make_divisible(inp * expand)
        layers = [conv_norm_act(inp, hidden, 1, 1, 1, nn.SiLU)] if expand != 1 else []
        layers += [conv_norm_act(hidden, hidden, kernel, stride, hidden, nn.SiLU),
                   SqueezeExcitation(hidden, max(1, inp // 4)), conv_norm_act(hidden, out, 1, 1, 1, None)]
        self.block = nn.Sequential(*layers)
        self.res = stride == 1 and inp == out

    def forward(self, x):
        return x + self.block(x) if self.res else self.block(x)


class EfficientNet(nn.Module):
    def __init__(self, classes=1000, width=1.0, depth=1.0, dropout=0.2):
        super().__init__()
        inp = make_divisible(32 * width)
        features = [conv_norm_act(3, inp, 3, 2, 1, nn.SiLU)]
        for e, k, s, c, n in [(1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
                              (6, 5, 2, 192, 4), (6, 3, 1, 320, 1)]:
            out, stage = make_divisible(c * width), []
            for i in range(math.ceil(n * depth)):
                stage.append(MBConv(inp, out, e, k, s if i == 0 else 1))
                inp = out
            features.append(nn.Sequential(*stage))
        features.append(conv_norm_act(inp, 4 * inp, 1, 1, 1, nn.SiLU))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(4 * inp, classes))

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


VGG = {11: "64 M 128 M 256 256 M 512 512 M 512 512 M", 13: "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
       16: "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
       19: "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M"}


class Vgg(nn.Module):
    def __init__(self, depth, norm=False, classes=1000, divisor=1, pooled=7, hidden=4096, dropout=0.5):
        super().__init__()
        layers, inp = [], 3
        for token in VGG[depth].split():
            if token == "M":
                layers.append(nn.MaxPool2d(2, 2))
                continue
            out = int(token) // divisor
            layers += [nn.Conv2d(inp, out, 3, padding=1)] + ([nn.BatchNorm2d(out)] if norm else []) + [nn.ReLU()]
            inp = out
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(pooled)
        self.classifier = nn.Sequential(nn.Linear(inp * pooled**2, hidden), nn.ReLU(), nn.Dropout(dropout),
                                        nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout),
                                        nn.Linear(hidden, classes))

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def double_conv(inp, out):
    return nn.Sequential(nn.Conv2d(inp, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(),
                         nn.Conv2d(out, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


class UNet(nn.Module):
    def __init__(self, channels=1, classes=2, width=64, depth=4, bilinear=False):
        super().__init__()
        sizes = [channels] + [width * 2**i for i in range(depth + 1)]
        self.encoder = nn.Sequential(*[double_conv(sizes[i], sizes[i + 1]) for i in range(depth)])
        self.bottleneck = double_conv(sizes[depth], sizes[depth + 1])
        pairs = [(sizes[i + 1], sizes[i]) for i in range(depth, 0, -1)]
        self.upconv = nn.Sequential(*[
            nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(a, b, 3, padding=1)) if bilinear
            else nn.ConvTranspose2d(a, b, 2, 2) for a, b in pairs])
        self.decoder = nn.Sequential(*[double_conv(a, b) for a, b in pairs])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        skips = []
        for level in self.encoder:
            skips.append(level(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.bottleneck(x)
        for up, across in zip(self.upconv, self.decoder):
            x = across(torch.cat([skips.pop(), up(x)], 1))
        return self.head(x)


class Generator(nn.Module):
    def __init__(self, image=64, nc=3, nz=100, ngf=64):
        super().__init__()
        first, stages = {28: (7, 2), 32: (4, 3), 64: (4, 4)}[image]
        c = ngf * 2 ** (stages - 1)
        layers = [nn.ConvTranspose2d(nz, c, first, 1, 0, bias=False), nn.BatchNorm2d(c), nn.ReLU()]
        for _ in range(stages - 1):
            layers += [nn.ConvTranspose2d(c, c // 2, 4, 2, 1, bias=False), nn.BatchNorm2d(c // 2), nn.ReLU()]
            c //= 2
        self.main = nn.Sequential(*layers, nn.ConvTranspose2d(c, nc, 4, 2, 1, bias=False), nn.Tanh())

    def forward(self, z):
        return self.main(z[:, :, None, None])


class Discriminator(nn.Module):
    def __init__(self, image=64, nc=3, ndf=64):
        super().__init__()
        first, stages = {28: (7, 2), 32: (4, 3), 64: (4, 4)}[image]
        layers, c = [nn.Conv2d(nc, ndf, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)], ndf
        for _ in range(stages - 1):
            layers += [nn.Conv2d(c, c * 2, 4, 2, 1, bias=False), nn.BatchNorm2d(c * 2), nn.LeakyReLU(0.2)]
            c *= 2
        self.main = nn.Sequential(*layers, nn.Conv2d(c, 1, first, 1, 0, bias=False))

    def forward(self, x):
        return self.main(x).flatten()


class Vae(nn.Module):
    def __init__(self, image=28, channels=1, width=32, latent=20):
        super().__init__()
        small = image // 4
        flat = 2 * width * small * small
        self.encoder = nn.Sequential(nn.Conv2d(channels, width, 4, 2, 1), nn.ReLU(),
                                     nn.Conv2d(width, 2 * width, 4, 2, 1), nn.ReLU(), nn.Flatten())
        self.mu = nn.Linear(flat, latent)
        self.logvar = nn.Linear(flat, latent)
        self.decoder = nn.Sequential(nn.Linear(latent, flat), nn.ReLU(), nn.Unflatten(1, (2 * width, small, small)),
                                     nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.ReLU(),
                                     nn.ConvTranspose2d(width, channels, 4, 2, 1))


def elbo(model, x):
    x = (x + 1) / 2
    h = model.encoder(x)
    mu, logvar = model.mu(h), model.logvar(h)
    z = mu + torch.exp(logvar / 2) * values("noise", tuple(mu.shape)) if model.training else mu
    logits = model.decoder(z)
    kl = torch.distributions.kl_divergence(torch.distributions.Normal(mu, torch.exp(logvar / 2)),
                                           torch.distributions.Normal(0.0, 1.0)).sum()
    return logits, (F.binary_cross_entropy_with_logits(logits, x, reduction="sum") + kl) / x.shape[0]


class OutputAlone:
    """Of a recurrent layer."""
    def forward(self, x):
        return super().forward(x)[0]


class Rnn(OutputAlone, nn.RNN): pass
class Lstm(OutputAlone, nn.LSTM): pass
class Gru(OutputAlone, nn.GRU): pass


LENGTHS = [7, 4, 1, 6]


def within(x):
    return (torch.arange(x.shape[1])[None, :] < torch.tensor(LENGTHS)[:, None])[:, :, None]


class TextClassifier(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.embedding = nn.Embedding(11, 5, padding_idx=0)
        self.output = nn.Linear(features, 2)

    def forward(self, x):
        return self.output(self.features(self.embedding(torch.floor((x + 1) / 2 * 11).long())))


class MeanClassifier(TextClassifier):
    def __init__(self):
        super().__init__(5)

    def features(self, x):
        return (x * within(x)).sum(1) / torch.tensor(LENGTHS)[:, None]


class LstmClassifier(TextClassifier):
    def __init__(self):
        super().__init__(6)
        self.lstm = nn.LSTM(5, 6, batch_first=True)

    def features(self, x):
        return self.lstm(x)[0][torch.arange(len(LENGTHS)), torch.tensor(LENGTHS) - 1]


class TextCnn(TextClassifier):
    def __init__(self):
        super().__init__(18)
        for width in (3, 4, 5):
            self.add_module(f"conv{width}", nn.Conv1d(5, 6, width, padding="same"))

    def features(self, x):
        found = [torch.relu(conv(x.mT)).mT.masked_fill(~within(x), -math.inf).amax(1)
                 for conv in (self.conv3, self.conv4, self.conv5)]
        return torch.cat(found, 1)


write("text_classifier", [entry("mean", MeanClassifier(), (4, 7)), entry("lstm", LstmClassifier(), (4, 7)),
                          entry("cnn", TextCnn(), (4, 7))])
class Recommender(nn.Module):
    def forward(self, x):
        return self.rating(torch.floor((x[0] + 1) / 2 * 5).long(), torch.floor((x[1] + 1) / 2 * 7).long())


class Factors(Recommender):
    def __init__(self):
        super().__init__()
        self.user_factors, self.item_factors = nn.Embedding(5, 4), nn.Embedding(7, 4)
        self.user_bias, self.item_bias = nn.Embedding(5, 1), nn.Embedding(7, 1)

    def rating(self, user, item):
        product = torch.einsum("nf,nf->n", self.user_factors(user), self.item_factors(item))
        return 2.5 + product + self.user_bias(user)[:, 0] + self.item_bias(item)[:, 0]


class Neural(Recommender):
    def __init__(self):
        super().__init__()
        self.user_factors, self.item_factors = nn.Embedding(5, 4), nn.Embedding(7, 4)
        self.user_features, self.item_features = nn.Embedding(5, 4), nn.Embedding(7, 4)
        self.hidden = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3), nn.ReLU())
        self.output = nn.Linear(7, 1)

    def rating(self, user, item):
        product = self.user_factors(user) * self.item_factors(item)
        hidden = self.hidden(torch.cat([self.user_features(user), self.item_features(item)], 1))
        return 2.5 + self.output(torch.cat([product, hidden], 1))[:, 0]


write("recommender", [entry("factors", Factors(), (2, 8)), entry("neural", Neural(), (2, 8))])
write("recurrent", [entry("rnn", Rnn(5, 7), (6, 3, 5)),
                    entry("rnn relu", Rnn(5, 7, nonlinearity="relu", bias=False), (6, 3, 5)),
                    entry("lstm", Lstm(5, 7, num_layers=2, bidirectional=True, batch_first=True), (3, 6, 5),
                          eval_gradients=True),
                    entry("lstm long", Lstm(8, 16, num_layers=3), (40, 2, 8)),
                    entry("gru", Gru(5, 7, num_layers=2, bidirectional=True), (6, 3, 5))])


CAUSAL = torch.ones(6, 6).triu(1).bool()  # PyTorch's masks are true where a key is hidden
PADDING = torch.arange(6) >= torch.tensor([[6], [4]])
MEMORY = (2, 7, 16)  # what a decoder attends to


class SelfAttention(nn.MultiheadAttention):
    def forward(self, x):
        return super().forward(x, x, x, attn_mask=CAUSAL, key_padding_mask=PADDING, need_weights=False)[0]


class CrossAttention(nn.MultiheadAttention):
    def forward(self, x):
        memory = values("memory", MEMORY)
        return super().forward(x, memory, memory, need_weights=False)[0]


class ThreeInputs(nn.MultiheadAttention):
    def forward(self, x):
        return super().forward(x, values("memory", MEMORY), values("memory 2", MEMORY), need_weights=False)[0]


class Encoder(nn.TransformerEncoder):
    def forward(self, x):
        return super().forward(x, src_key_padding_mask=PADDING)


class DecoderLayer(nn.TransformerDecoderLayer):
    def forward(self, x, memory=None, **masks):
        if memory is None:
            memory, masks = values("memory", MEMORY), {"tgt_mask": CAUSAL}
        return super().forward(x, memory, **masks)


class WholeTransformer(nn.Transformer):
    def forward(self, x):
        return super().forward(values("memory", MEMORY), x, tgt_mask=CAUSAL, tgt_key_padding_mask=PADDING)


def heads(module, bias=True):
    return module(16, 4, bias=bias, batch_first=True)


def layer(module, norm_first=False, activation="relu"):
    return module(16, 4, 24, 0.0, activation, batch_first=True, norm_first=norm_first)


write("transformer", [
    entry("self", heads(SelfAttention), (2, 6, 16), eval_gradients=True),
    entry("self without bias", heads(SelfAttention, False), (2, 6, 16)),
    entry("cross", heads(CrossAttention), (2, 6, 16)),
    entry("three inputs", heads(ThreeInputs), (2, 6, 16)),
    entry("encoder layer", layer(nn.TransformerEncoderLayer), (2, 6, 16), eval_gradients=True),
    entry("encoder layer, norm first", layer(nn.TransformerEncoderLayer, True, "gelu"), (2, 6, 16)),
    entry("decoder layer", layer(DecoderLayer), (2, 6, 16)),
    entry("decoder layer, norm first", layer(DecoderLayer, True, "gelu"), (2, 6, 16)),
    entry("encoder", Encoder(layer(nn.TransformerEncoderLayer), 2, nn.LayerNorm(16)), (2, 6, 16)),
    entry("transformer", WholeTransformer(16, 4, 2, 2, 24, 0.0, batch_first=True), (2, 6, 16), eval_gradients=True)])
write("lenet", [entry("lenet", LeNet(), (2, 1, 32, 32), eval_gradients=True),
                entry("lenet padded", LeNet(3, 7, 2), (2, 3, 28, 28))])
write("cifar_resnet", [entry("resnet20 A", CifarResNet(20, "A"), (2, 3, 16, 16)),
                       entry("resnet20 B", CifarResNet(20, "B"), (2, 3, 16, 16))] +
      [entry(f"resnet{depth} A", CifarResNet(depth, "A"), state=False) for depth in (32, 44, 56, 110)])
write("resnet", [entry("resnet18", ResNet(BasicBlock, [2, 2, 2, 2])),
                 entry("resnet18 narrow", ResNet(BasicBlock, [2, 2, 2, 2], 10, 16), (2, 3, 64, 64), state=False),
                 entry("resnet34", ResNet(BasicBlock, [3, 4, 6, 3]), state=False),
                 entry("resnet50", ResNet(Bottleneck, [3, 4, 6, 3])),
                 entry("resnet50 narrow", ResNet(Bottleneck, [3, 4, 6, 3], 10, 8), (4, 3, 64, 64), state=False),
                 entry("resnet101", ResNet(Bottleneck, [3, 4, 23, 3]), state=False)])
write("mobilenet", [entry("mobilenet_v2", MobileNetV2()),
                    entry("mobilenet_v2 narrow", MobileNetV2(10, 0.35, 0), (4, 3, 64, 64))])
write("dcgan", [entry("generator 64", Generator()), entry("discriminator 64", Discriminator()),
                entry("generator 32", Generator(32, 3, 16, 8), (4, 16)),
                entry("discriminator 32", Discriminator(32, 3, 8), (4, 3, 32, 32)),
                entry("generator 28", Generator(28, 1, 16, 8), (4, 16)),
                entry("discriminator 28", Discriminator(28, 1, 8), (4, 1, 28, 28), eval_gradients=True)])
write("vae", [entry("vae", Vae()), entry("vae narrow", Vae(16, 3, 8, 6), (4, 3, 16, 16), elbo, eval_gradients=True)])
write("unet", [entry("unet", UNet()), entry("unet narrow", UNet(3, 4, 8, 2), (2, 3, 16, 24)),
               entry("unet bilinear", UNet(3, 4, 8, 2, True), (2, 3, 16, 24))])
write("vgg", [entry("vgg11", Vgg(11)), entry("vgg16", Vgg(16)),
              entry("vgg11 narrow", Vgg(11, False, 10, 8, 2, 32, 0), (2, 3, 64, 64)),
              entry("vgg11_bn narrow", Vgg(11, True, 10, 8, 2, 32, 0), (2, 3, 64, 64))])
write("efficientnet", [entry("efficientnet_b0", EfficientNet()),
                       entry("efficientnet narrow", EfficientNet(10, 0.35, 0.5, 0), (4, 3, 64, 64))])
