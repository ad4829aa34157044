"""Writes what image_test.cpp, transforms_test.cpp and torch_file_test.cpp read: images.json, transforms.json and
the small *.pt files. Values of Pillow and torchvision; files of PyTorch.

Usage: python3 tests/golden/make_data_golden.py  (needs PyTorch 2.6, torchvision 0.21 and Pillow 11 or later)
"""
import argparse
import collections
import io
import json
import os
import pathlib
import zipfile

import numpy as np
import torch
import torchvision.transforms.functional as F
from PIL import Image
from torchvision.transforms import InterpolationMode

HERE = pathlib.Path(__file__).parent


def write(name, cases):
    text = json.dumps(cases, separators=(",", ":"))
    (HERE / f"{name}.json").write_text(text.replace('{"name"', '\n{"name"') + "\n")


def picture(height, width):
    """A smooth picture with an edge, [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [40 + 180 * x / width, 220 - 160 * y / height, np.where(x > y, 200, 60)]
    return np.stack(planes, -1).astype(np.uint8)


def images():
    rgb = Image.fromarray(picture(11, 13))
    exif = Image.Exif()
    exif[0x0112] = 6
    cases = []
    for name, image, options in [
        ("rgb", rgb, {"quality": 90, "subsampling": 0}),
        ("subsampled", rgb, {"quality": 80, "subsampling": 2}),
        ("progressive", rgb, {"quality": 85, "progressive": True}),
        ("grey", rgb.convert("L"), {"quality": 90}),
        ("cmyk", rgb.convert("CMYK"), {"quality": 90}),
        ("turned", rgb, {"quality": 90, "subsampling": 0, "exif": exif.tobytes()}),
    ]:
        file = io.BytesIO()
        image.save(file, "JPEG", **options)
        back = Image.open(io.BytesIO(file.getvalue()))
        if name == "turned":
            back = back.transpose(Image.Transpose.ROTATE_270)
        pixels, grey = np.asarray(back.convert("RGB")), np.asarray(back.convert("L"))
        cases.append({"name": name, "file": file.getvalue().hex(), "shape": list(pixels.shape),
                      "pixels": pixels.tobytes().hex(), "grey": grey.tobytes().hex()})
    write("images", cases)


def transforms():
    pixels = picture(9, 12)
    planes = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    image = Image.fromarray(pixels)
    cases = [{"name": "input", "shape": list(planes.shape), "pixels": planes.numpy().tobytes().hex()}]

    def add(name, result, **options):
        if isinstance(result, Image.Image):
            result = torch.from_numpy(np.asarray(result).transpose(2, 0, 1).copy())
        cases.append({"name": name, **options, "shape": list(result.shape),
                      "pixels": result.contiguous().numpy().tobytes().hex()})

    for size in ([4, 5], [20, 17], [3, 30], [9, 12]):
        add("resize", image.resize(size[::-1], Image.Resampling.BILINEAR), size=size)
    for angle, translate, scale, shear in [(30, [0, 0], 1, [0, 0]), (0, [2, -1], 1, [0, 0]), (0, [0, 0], 1.5, [0, 0]),
                                           (0, [0, 0], 1, [20, 0]), (-50, [1, 2], 0.7, [10, -5])]:
        moved = F.affine(planes.float(), angle, translate, scale, shear, InterpolationMode.BILINEAR)
        add("affine", moved.round().clamp(0, 255).byte(), angle=angle, translate=translate, scale=scale, shear=shear)
    for name, function in [("brightness", F.adjust_brightness), ("contrast", F.adjust_contrast),
                           ("saturation", F.adjust_saturation)]:
        for factor in (0.4, 1.7):
            add(name, function(image, factor), factor=factor)
    for factor in (-0.3, 0.2):
        add("hue", F.adjust_hue(planes, factor), factor=factor)
    write("transforms", cases)


class Malicious:
    def __reduce__(self):
        return os.system, ("echo stithy must never run this",)


def save(name, value, **options):
    torch.save(value, HERE / name, **options)


def torch_files():
    torch.manual_seed(0)
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    everything = collections.OrderedDict(
        f32=base, transposed=base.t(), column=base[:, 1], expanded=torch.tensor([5.0]).expand(2, 3),
        f64=torch.tensor([0.1, -3], dtype=torch.float64), f16=torch.tensor([1.5, -2]).half(),
        bf16=torch.tensor([1.5, -2]).bfloat16(), i64=torch.tensor([-(2**31), 7]),
        i32=torch.tensor([-5], dtype=torch.int32), i16=torch.tensor([-300], dtype=torch.int16),
        i8=torch.tensor([-128], dtype=torch.int8), u8=torch.tensor([255], dtype=torch.uint8),
        flag=torch.tensor([True, False]), scalar=torch.tensor(2.5), empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(torch.tensor([1.0, 2.0])))
    save("everything.pt", everything)
    save("everything_legacy.pt", everything, _use_new_zipfile_serialization=False)
    # Deflated, as other tools pack it.
    packed = io.BytesIO()
    with zipfile.ZipFile(HERE / "everything.pt") as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for entry in source.infolist():
            out.writestr(entry.filename, source.read(entry))
    (HERE / "everything_deflated.pt").write_bytes(packed.getvalue())

    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.arange(parameter.numel()).reshape(parameter.shape) / 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    save("checkpoint.pt", {"epoch": 3, "state_dict": model.state_dict(), "optimizer": optimizer.state_dict(),
                           "args": argparse.Namespace(lr=0.1, name="x"), "device": torch.device("cpu"),
                           "dtype": torch.float16, "size": torch.Size([2, 3]), "best": None, "done": False})
    save("malicious.pt", {"weight": torch.zeros(2), "state": Malicious()})
    save("too_large.pt", {"steps": torch.tensor([2**31])})


if __name__ == "__main__":
    images()
    transforms()
    torch_files()
    for file in sorted(HERE.glob("*.pt")) + [HERE / "images.json", HERE / "transforms.json"]:
        print(file.name, file.stat().st_size)
