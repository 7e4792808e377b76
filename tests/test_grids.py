import math
import os

import numpy
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pad, to_pil_image
from torchvision.utils import make_grid

from dldemos.VAE.images.grids import (
    enlarged,
    enlargement,
    grid,
    grid_of_batches,
    labelled_rows,
    most_images,
    pairs,
    save_picture,
    text_width,
    to_bytes,
)


@pytest.mark.parametrize('n, columns', [(1, 8), (2, 8), (3, 8), (5, 4), (12, 8), (15, 4)])
def test_a_picture_of_few_images_is_enlarged(n, columns):
    picture = grid(torch.rand(n, 3, 64, 64), columns)
    assert 500 <= max(picture.size) <= 600
    assert labelled_rows([('one', torch.rand(1, 3, 64, 64))]).height > 250


def test_a_picture_of_many_images_is_as_high_as_wide():
    assert grid(torch.zeros(64, 3, 8, 8)).size == (82, 82)
    assert grid(torch.zeros(2500, 3, 8, 8)).size == (502, 502)
    assert most_images(64) >= 20_000
    side = math.isqrt(most_images(64)) * 66 + 2
    assert side**2 <= Image.MAX_IMAGE_PIXELS            # or programs refuse to open it


def test_values_are_clamped_before_they_become_bytes():
    images = torch.tensor([1.3, -0.3, 1, 0, 0.5]).view(5, 1, 1, 1).expand(5, 3, 2, 2)
    assert to_bytes(images)[:, 0, 0, 0].tolist() == [255, 0, 255, 0, 127]
    assert torch.equal(to_bytes(to_bytes(images)), to_bytes(images))


def test_originals_stand_above_their_reconstructions():
    rows = pairs(torch.zeros(9, 3, 64, 64), torch.ones(9, 3, 64, 64) / 2, columns=8)
    assert [(label, len(images)) for label, images in rows] == [
        ('original', 8), ('decoded', 8), ('original', 1), ('decoded', 1)]
    picture = labelled_rows(rows)
    assert picture.height == 4 * 66 + 2
    left = picture.width - 8 * 66 - 2
    assert picture.getpixel((left + 34, 34)) == (0, 0, 0)
    assert picture.getpixel((left + 34, 34 + 66))[0] in (127, 128)
    margin = numpy.asarray(picture.convert('L'))[:, :left]
    for top in range(0, 4 * 66, 66):                            # every row has its label
        assert margin[top:top + 66].min() < 128


def test_labels_keep_their_distance_from_numbers():
    """Where a space stands there is a gap, as wide as a thin letter at least."""
    picture = labelled_rows([('dimension 117: 0.98 nats', torch.ones(1, 3, 512, 512))])
    left = numpy.asarray(picture.convert('L'))[:, :text_width('dimension 117: 0.98 nats') + 16]
    ink = numpy.flatnonzero((left < 200).any(0))
    gaps = numpy.diff(ink)
    assert (gaps >= 4).sum() >= 3


def test_a_picture_is_saved_under_its_name_and_as_the_newest(tmp_path):
    for shade, name in ((0, 'a.jpg'), (255, 'b.jpg')):
        save_picture(Image.new('RGB', (8, 8), (shade,) * 3), tmp_path / 'work_dirs' / name)
    shades = {name: Image.open(tmp_path / 'work_dirs' / name).getpixel((4, 4))[0]
              for name in sorted(os.listdir(tmp_path / 'work_dirs'))}
    assert shades == {'a.jpg': 0, 'b.jpg': 255, 'tmp.jpg': 255}


def former_grid(images, columns=8):
    """The grid of torchvision, as it was drawn while all images were in memory."""
    columns = min(len(images), max(columns, math.isqrt(len(images) - 1) + 1))
    factor = enlargement(len(images), columns, math.ceil(len(images) / columns), images.shape[-1])
    sheet = make_grid(to_bytes(enlarged(images, factor)), nrow=columns, padding=2, pad_value=255)
    return to_pil_image(pad(sheet, [2], fill=255) if len(images) == 1 else sheet)


@pytest.mark.parametrize('n, columns', [(1, 8), (5, 4), (12, 8), (16, 4), (64, 8), (90, 8)])
def test_a_grid_of_batches_has_the_pixels_of_the_grid_of_all(n, columns):
    images = torch.rand(n, 3, 64, 48, generator=torch.Generator().manual_seed(n)) * 1.2 - 0.1
    expected = numpy.asarray(former_grid(images, columns))
    assert numpy.array_equal(numpy.asarray(grid(images, columns)), expected)
    for size in (1, 7, 64):
        picture = grid_of_batches(iter(images.split(size)), n, columns)
        assert numpy.array_equal(numpy.asarray(picture), expected)


def test_a_grid_takes_no_more_batches_than_it_has_room_for(monkeypatch, capsys):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', (3 * 10) ** 2 + 50)
    images = torch.rand(40, 3, 8, 8)
    batches = iter(images.split(4))
    picture = grid_of_batches(batches, 40)
    assert 'a picture holds 9 faces: these are the first of 40' in capsys.readouterr().out
    assert numpy.array_equal(numpy.asarray(picture), numpy.asarray(former_grid(images[:9])))
    assert len(list(batches)) == 7
