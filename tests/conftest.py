"""What several tests share: a small folder of images and a place to run in."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

REPOSITORY = Path(__file__).parents[1]
SMALL = ['--hiddens', '4,8,8,8,8', '--latent_dim', '8', '--device', 'cpu']


def make_image(index, size=(178, 218), mode='RGB'):
    """A seeded picture with gradients and edges, no two alike."""
    image = Image.radial_gradient('L').resize(size)
    image = Image.merge('RGB', [image.rotate(40 * index + 90 * c) for c in range(3)])
    draw = ImageDraw.Draw(image)
    x = 20 + 17 * index % max(1, size[0] // 2)
    draw.ellipse((x, 60, x + 50, 130), fill=(37 * index % 256, 90, 200))
    return image.convert(mode)


def save_images(folder):
    """Ten images of CelebA's size, named as its own."""
    folder.mkdir()
    for i in range(1, 11):
        make_image(i).save(folder / f'{i:06}.jpg', quality=92)
    return folder


@pytest.fixture
def images(tmp_path):
    """A folder of ten images of CelebA's size."""
    return save_images(tmp_path / 'images')


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Run in an empty folder, where the program's relative paths lead."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def trained(images, here, capsys):
    """A small model, trained for an epoch on nine of ten images; their folder."""
    from dldemos.VAE import main as program
    program.main(['train', '--data_root', str(images), '--n_epochs', '1', *SMALL])
    capsys.readouterr()
    return images


def cached(root, crop=168, **options):
    """The path of the cache of a source of images, and the names in it."""
    from dldemos.VAE.load_celebA import CelebADataset
    dataset = CelebADataset(root, crop=crop, **options)
    return dataset.cache, dataset.names


def load(root, crop=168, **options):
    """The names of a source of images, and their pixels, uint8 (N, 3, height, width)."""
    from dldemos.VAE.load_celebA import CelebADataset
    dataset = CelebADataset(root, crop=crop, **options)
    return dataset.names, dataset.read_pixels(slice(None)).numpy()


def close(a, b, by=1):
    """Whether pixels differ by no more than so many grey levels."""
    import numpy
    return numpy.abs(numpy.asarray(a, dtype=int) - numpy.asarray(b, dtype=int)).max() <= by


def small_vae(latent_dim=8):
    """The same small model each time, in training mode."""
    import torch

    from dldemos.VAE.model import VAE
    torch.manual_seed(0)
    return VAE(hiddens=(4, 8, 8, 8, 8), latent_dim=latent_dim)


def interrupt(*arguments):
    """Ctrl-C, in place of a function."""
    raise KeyboardInterrupt


def run_module(module, *args, cwd, repository=REPOSITORY, environment=None, **kwargs):
    """`python -m module args` as a user runs it, in the folder cwd."""
    return subprocess.run(
        [sys.executable, '-m', module, *map(str, args)], cwd=cwd, text=True, errors='replace',
        capture_output=True, stdin=subprocess.DEVNULL,
        env={**os.environ, 'PYTHONPATH': str(repository), **(environment or {})}, **kwargs)
