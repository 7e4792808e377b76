import errno
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, cached, close, load, make_image
from PIL import Image, ImageOps
from torchvision.transforms import functional

from dldemos.VAE.images import cache
from dldemos.VAE.load_celebA import CelebADataset
from dldemos.VAE.support import files
from dldemos.VAE.support.errors import UserError, exit_status


def expected(path, crop=168):
    """torchvision's pipeline on one file, its middle square at most as large as it is."""
    image = ImageOps.exif_transpose(Image.open(path)).convert('RGB')
    image = functional.center_crop(image, min(*image.size, crop))
    return np.asarray(functional.resize(image, [64, 64])).transpose(2, 0, 1)


@pytest.fixture
def decoded(monkeypatch):
    """Counts the images that are decoded."""
    count = []
    decode = cache.decode
    monkeypatch.setattr(cache, 'decode', lambda *a: count.append(1) or decode(*a))
    return count


def small_pictures(folder, n, n_bad=0, size=(20, 20)):
    """A folder of n PNG of which the first n_bad cannot be read."""
    folder.mkdir()
    for i in range(n):
        make_image(i % 90, size).save(folder / f'{i:04}.png')
    for i in range(n_bad):
        (folder / f'{i:04}.png').write_bytes(b'no PNG')
    return folder


# What is decoded

def test_other_crops_and_shapes_have_caches_of_their_own(images):
    assert load(images, img_shape=(32, 48))[1].shape == (10, 3, 32, 48)
    for crop in (100, 168):
        assert close(load(images, crop=crop)[1][0], expected(images / '000001.jpg', crop))


@pytest.mark.parametrize('name, mode, size', [
    ('grey.png', 'L', (200, 200)), ('rgba.png', 'RGBA', (200, 180)), ('la.png', 'LA', (90, 80)),
    ('palette.png', 'P', (178, 218)), ('cmyk.jpg', 'CMYK', (178, 218)),
    ('one.bmp', '1', (178, 218)), ('small.webp', 'RGB', (50, 70)), ('wide.JPEG', 'RGB', (500, 90)),
    ('tiny.png', 'RGB', (1, 1)), ('with space é.jpg', 'RGB', (178, 218)),
    ('on its side.png', 'RGB', (178, 218))])
def test_any_mode_and_size(tmp_path, name, mode, size):
    folder = tmp_path / 'mine' / 'deeper'
    folder.mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6 if name.startswith('on its side') else 1       # turn it to see it upright
    make_image(3, size, mode).save(folder / name, exif=exif)
    names, pixels = load(tmp_path / 'mine')
    assert names == [f'deeper/{name}']
    assert close(pixels[0], expected(folder / name))


@pytest.mark.parametrize('kind', ['folder', 'zip', 'tar'])
def test_no_more_is_decoded_than_is_asked_for(tmp_path, decoded, kind):
    """And all when it is asked for; of a tar, whose order is not that of names, always."""
    folder = small_pictures(tmp_path / 'many', 900, size=(20, 24))
    (folder / '0002.png').write_bytes(b'no PNG')
    root = folder if kind == 'folder' else Path(shutil.make_archive(folder, kind, folder))
    names = [f'{i:04}.png' for i in range(900) if i != 2]
    first = CelebADataset(root, n_images=50)
    assert [name.rsplit('/', 1)[-1] for name in first.names] == names[:50]
    assert len(decoded) == (900 if kind == 'tar' else 51)
    before = len(decoded)
    assert torch.equal(CelebADataset(root, n_images=20)[:], first[:20])
    assert len(decoded) == before
    pixels, looks = first[:], first.looks
    every = CelebADataset(root)
    assert [name.rsplit('/', 1)[-1] for name in every.names] == names
    assert torch.equal(every[:50], pixels) and np.array_equal(every.looks[:50], looks)
    assert every.original_size == (20, 24) and len(every.looks) == 899
    assert len(decoded) == (900 if kind == 'tar' else 51 + 900)
    assert torch.equal(CelebADataset(root, n_images=50)[:], pixels)


# What cannot be read

def png_of_size(width, height):
    """A PNG that claims a size and has next to no data."""
    def chunk(kind, data):
        return (struct.pack('>I', len(data)) + kind + data
                + struct.pack('>I', zlib.crc32(kind + data)))
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header)
            + chunk(b'IDAT', zlib.compress(b'\0' * 100)) + chunk(b'IEND', b''))


def test_unreadable_images_are_left_out_and_named(tmp_path, capsys):
    folder = small_pictures(tmp_path / 'many', 300)
    (folder / '0007.png').write_bytes(png_of_size(60_000, 60_000))
    (folder / '0100.png').write_bytes((folder / '0101.png').read_bytes()[:60])
    (folder / '0200.png').write_bytes(png_of_size(10_000, 10_000))      # only warned of
    for _ in range(2):                                                  # built, then cached
        names, pixels = load(folder)
        said = capsys.readouterr().out
        assert said.startswith('3 of 300 images in')
        assert '0007.png' in said and '0100.png' in said and '0200.png' in said
        assert len(names) == len(pixels) == 297
        assert names[7] == '0008.png'
        assert close(pixels[7], expected(folder / '0008.png'))


@pytest.mark.parametrize('n, n_bad, goes', [(2, 1, True), (5, 1, True), (5, 2, False),
                                            (1, 1, False), (2, 2, False), (30, 3, True)])
def test_one_in_ten_or_one_of_few_may_be_unreadable(tmp_path, n, n_bad, goes):
    """All of them are listed beside the cache, as long as there are any."""
    folder, everything = small_pictures(tmp_path / 'few', n, n_bad), 'few.64x64.crop168'
    if goes:
        assert len(load(folder)[0]) == n - n_bad
    else:
        with pytest.raises(UserError, match=f'{n_bad} of {n} images in .* cannot be read.*too many'
                           ) as error:
            load(folder)
        assert f'{everything}.unreadable.txt' in str(error.value)
        assert not list(tmp_path.glob('*.cache'))
    assert f'{n_bad - 1:04}.png' in (tmp_path / f'{everything}.unreadable.txt').read_text()
    for i in range(n_bad):
        make_image(5).save(folder / f'{i:04}.png')
    assert len(load(folder)[0]) == n
    assert sorted(os.listdir(tmp_path)) == ['few', f'{everything}.cache']


def test_no_image_at_all_is_an_error(tmp_path):
    (tmp_path / 'none').mkdir()
    (tmp_path / 'none' / 'notes.txt').write_text('text')
    with pytest.raises(UserError, match='no image in'):
        load(tmp_path / 'none')
    (tmp_path / 'none' / 'img_align_celeba.zip').write_bytes(b'PK')
    with pytest.raises(UserError, match='none/img_align_celeba.zip'):
        load(tmp_path / 'none')


def test_what_is_left_out_of_a_folder_is_told(images, tmp_path, capsys):
    (images / 'mine').mkdir()
    make_image(40).save(images / 'mine/tmp.jpg')
    (images / 'train-0.parquet').write_bytes(b'PAR1')
    for _ in range(2):                                                  # built, then cached
        assert len(load(images)[0]) == 10
        said = capsys.readouterr().out
        assert 'left out of' in said and 'mine/ with pictures that this program drew' in said
        assert '1 Parquet shards' in said


# When

@pytest.mark.parametrize('change', ['nothing', 'content', 'added', 'removed', 'renamed'])
def test_only_a_changed_source_is_decoded_again(images, decoded, change):
    load(images)
    if change == 'content':
        make_image(77).save(images / '000003.jpg')
    elif change == 'added':
        make_image(77).save(images / '000000.jpg')
    elif change == 'removed':
        (images / '000003.jpg').unlink()
    elif change == 'renamed':
        (images / '000003.jpg').rename(images / '900000.jpg')
    names, pixels = load(images)
    assert names == sorted(os.listdir(images))
    assert all(close(image, expected(images / name)) for name, image in zip(names, pixels))
    assert len(decoded) == 10 + len(names) * (change != 'nothing')


@pytest.mark.parametrize('damage', [
    lambda b: b[:-1], lambda b: b[:100], lambda b: b'', lambda b: b[:50_000] + b[60_000:],
    lambda b: b + b'x', lambda b: b[:-8] + b'\xff' * 8])
def test_a_damaged_cache_is_made_anew(images, decoded, damage):
    path, _ = cached(images)
    path.write_bytes(damage(path.read_bytes()))
    names, pixels = load(images)
    assert len(decoded) == 20
    assert close(pixels[9], expected(images / names[9]))


def test_a_full_disk_leaves_no_cache(images, tmp_path, monkeypatch, capsys):
    def full(descriptor):
        raise OSError(errno.ENOSPC, 'No space left on device')

    before = {path.name: path.read_bytes() for path in images.iterdir()}
    monkeypatch.setattr(files.os, 'fsync', full)
    assert exit_status(lambda: load(images)) == 2
    assert 'make room' in capsys.readouterr().err
    assert os.listdir(tmp_path) == ['images']
    assert {path.name: path.read_bytes() for path in images.iterdir()} == before
    monkeypatch.undo()
    assert len(load(images)[0]) == 10


BUILD = '''
import sys, time
from dldemos.VAE.images import cache
cache.CHUNK = 2
decode = cache.decode
def slow(*arguments):
    time.sleep(float(sys.argv[2]))
    return decode(*arguments)
cache.decode = slow
from dldemos.VAE.load_celebA import CelebADataset
CelebADataset(sys.argv[1], crop=168)
'''


def start_build(root, delay):
    return subprocess.Popen([sys.executable, '-c', BUILD, str(root), str(delay)],
                            env={**os.environ, 'PYTHONPATH': str(REPOSITORY)},
                            stderr=subprocess.PIPE)


def test_a_killed_build_leaves_no_cache(images, tmp_path):
    process = start_build(images, delay=1)
    deadline = time.time() + 60
    while not (found := list(tmp_path.glob('.images*.tmp'))) and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert found
    assert not list(tmp_path.glob('images*.cache'))
    os.utime(found[0], (0, 0))                          # left alone for long
    names, pixels = load(images)
    assert close(pixels[5], expected(images / names[5]))
    assert not found[0].exists()


def test_two_builds_at_once(images, tmp_path):
    processes = [start_build(images, delay=0.05) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    names, pixels = load(images)
    assert all(close(image, expected(images / name)) for name, image in zip(names, pixels))
    assert sorted(os.listdir(tmp_path)) == ['images', 'images.64x64.crop168.cache']


# Where

def test_the_cache_can_lie_elsewhere(images, tmp_path):
    """In a folder where those of several sources of one name lie."""
    (tmp_path / 'deep' / 'images').mkdir(parents=True)
    make_image(31).save(tmp_path / 'deep/images/a.jpg')
    for _ in range(2):
        assert len(cached(images, cache_dir=tmp_path / 'fast/disk')[1]) == 10
        assert cached(tmp_path / 'deep/images', cache_dir=tmp_path / 'fast/disk')[1] == ['a.jpg']
    assert len(os.listdir(tmp_path / 'fast/disk')) == 2
    assert sorted(os.listdir(tmp_path)) == ['deep', 'fast', 'images']
    (tmp_path / 'file').write_text('a file')
    for place in (tmp_path / 'file', tmp_path / 'file' / 'deeper'):
        with pytest.raises(UserError, match='--cache_dir'):
            cached(images, cache_dir=place)


def test_a_long_name_has_a_cache_too(images):
    root = images.rename(images.parent / ('x' * 250))
    path, names = cached(root)
    assert len(names) == 10 and path.parent == root.parent


@pytest.fixture
def forbid(monkeypatch):
    """A function that forbids to make files in a folder."""
    make = tempfile.TemporaryFile

    def forbid(folder):
        def refuse_there(dir):
            if Path(dir) == folder:
                raise PermissionError(errno.EACCES, 'Permission denied')
            return make(dir=dir)
        monkeypatch.setattr(cache.tempfile, 'TemporaryFile', refuse_there)
    return forbid


def test_where_nothing_may_be_written_the_cache_goes_to_data(images, here, forbid, capsys,
                                                             decoded):
    """With a line that says so, and decoded once; another source of the same name apart."""
    places = set()
    for folder in (here, here / 'other'):
        root = folder / 'images'
        if folder != here:
            folder.mkdir()
            images.rename(root)
        forbid(folder)
        before = len(decoded)
        path, names = cached(root)
        assert len(names) == 10
        assert path.parent == Path('data') and path.name.startswith('images.')
        assert '--cache_dir' in (said := capsys.readouterr().out) and str(path) in said
        assert cached(root)[0] == path
        assert len(decoded) == before + 10
        assert capsys.readouterr().out == ''
        places.add(path.name)
    assert sorted(os.listdir(here / 'data')) == sorted(places) and len(places) == 2
    assert not list(here.glob('*.cache'))


def test_a_cache_that_was_made_before_is_used_in_a_read_only_place(images, here, forbid, decoded):
    path, _ = cached(images)
    forbid(images.parent)
    assert cached(images)[0] == path
    assert len(decoded) == 10
    assert not (here / 'data').exists()
