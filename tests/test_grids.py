import os

import numpy
import torch
from PIL import Image

from dldemos.VAE.images.grids import grid, labelled_rows, pairs, save_picture


def test_grid_has_its_images_in_rows():
    images = torch.linspace(0, 1, 10).view(10, 1, 1, 1).expand(10, 3, 64, 64)
    picture = grid(images, columns=4)
    assert picture.size == (4 * 66 + 2, 3 * 66 + 2)
    assert picture.getpixel((34, 34)) == (0, 0, 0)
    assert picture.getpixel((34 + 66, 34 + 2 * 66)) == (255, 255, 255)   # the tenth


def test_values_are_clamped_before_they_become_bytes():
    images = torch.stack([torch.full((3, 64, 64), 1.3), torch.full((3, 64, 64), -0.3)])
    picture = grid(images, columns=2)
    assert picture.getpixel((34, 34)) == (255, 255, 255)
    assert picture.getpixel((100, 34)) == (0, 0, 0)


def test_originals_stand_above_their_reconstructions():
    first, second = torch.zeros(5, 3, 64, 64), torch.ones(5, 3, 64, 64) / 2
    rows = pairs(first, second, columns=4)
    assert [label for label, _ in rows] == ['original', 'decoded'] * 2
    assert [len(images) for _, images in rows] == [4, 4, 1, 1]
    picture = labelled_rows(rows)
    assert picture.height == 4 * 66 + 2
    left = picture.width - 4 * 66 - 2
    assert picture.getpixel((left + 34, 34)) == (0, 0, 0)
    assert picture.getpixel((left + 34, 34 + 66))[0] in (127, 128)
    margin = numpy.asarray(picture.convert('L'))[:, :left]
    for top in range(0, 4 * 66, 66):                            # every row has its label
        assert margin[top:top + 66].min() < 128


def test_a_picture_is_saved_under_its_name_and_as_the_newest(tmp_path):
    for shade, name in ((0, 'a.jpg'), (255, 'b.jpg')):
        save_picture(Image.new('RGB', (8, 8), (shade,) * 3), tmp_path / 'work_dirs' / name)
    shades = {name: Image.open(tmp_path / 'work_dirs' / name).getpixel((4, 4))[0]
              for name in sorted(os.listdir(tmp_path / 'work_dirs'))}
    assert shades == {'a.jpg': 0, 'b.jpg': 255, 'tmp.jpg': 255}
