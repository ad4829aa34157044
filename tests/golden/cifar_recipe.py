"""The recipe of samples/cifar_resnet in PyTorch, for an independent accuracy:

  python3 cifar_recipe.py FOLDER [EPOCHS [SEED]]

FOLDER holds CIFAR-10's binary files (data_batch*.bin or train*.bin, and test*.bin or val*.bin). Prints the test accuracy.
"""
import math, pathlib, sys
import numpy, torch, torch.nn as nn, torch.nn.functional as F


class Block(nn.Module):
    def __init__(self, i, o, s):
        super().__init__()
        self.s, self.grow = s, o - i
        self.c1, self.b1 = nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o)
        self.c2, self.b2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)

    def forward(self, x):
        y = self.b2(self.c2(F.relu(self.b1(self.c1(x)))))
        if self.grow:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.grow // 2, self.grow - self.grow // 2))
        return F.relu(x + y)


def resnet20():
    layers, width = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()], 16
    for o in (16, 32, 64):
        for k in range(3):
            layers.append(Block(width, o, 2 if k == 0 and o != width else 1))
            width = o
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    for m in model.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(m.weight)
    return model


def read(files):
    records = numpy.concatenate([numpy.fromfile(f, numpy.uint8).reshape(-1, 3073) for f in sorted(files)])
    images = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32).copy()).float() / 255
    mean, std = torch.tensor([.4914, .4822, .4465]), torch.tensor([.2470, .2435, .2616])
    return images, (mean[:, None, None], std[:, None, None]), torch.from_numpy(records[:, 0].astype(numpy.int64))


def main():
    folder, epochs, seed = pathlib.Path(sys.argv[1]), int((sys.argv + ["", "20"])[2] or 20), int((sys.argv + ["", "", "0"])[3] or 0)
    files = sorted(folder.glob("*.bin"))
    x, (mean, std), t = read([f for f in files if f.name.startswith(("data_batch", "train"))])
    vx, _, vt = read([f for f in files if f.name.startswith(("test", "val"))])
    torch.manual_seed(seed)
    torch.set_num_threads(2)
    model, batch, warmup = resnet20(), 64, 30
    steps = epochs * (len(x) // batch)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    factor = lambda i: min(1, (i + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * max(0, i - warmup) / (steps - warmup)))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for epoch in range(epochs):
        model.train()
        order = torch.randperm(len(x))
        for i in range(len(x) // batch):
            index = order[i * batch:(i + 1) * batch]
            images = F.pad(x[index], (4, 4, 4, 4))
            crops = []
            for image in images:
                a, b = torch.randint(0, 9, (2,)).tolist()
                image = image[:, a:a + 32, b:b + 32]
                crops.append(image.flip(2) if torch.rand(()) < 0.5 else image)
            loss = F.cross_entropy(model((torch.stack(crops) - mean) / std), t[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            right = sum((model((vx[i:i + 250] - mean) / std).argmax(1) == vt[i:i + 250]).sum().item() for i in range(0, len(vx), 250))
        print(f"epoch {epoch + 1} loss {loss.item():.3f} test_accuracy {right / len(vx):.4f}", flush=True)


main()
