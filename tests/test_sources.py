"""Each kind of source and each format of picture, with files that the tests make."""
import functools
import gzip
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import close, load, make_image
from PIL import Image, ImageCms, PngImagePlugin

from dldemos.VAE.images import cache, sources
from dldemos.VAE.images.sources import find_source
from dldemos.VAE.support.errors import UserError

NAMES = [f'{i:06}.jpg' for i in range(1, 11)]


def tar_of(folder, path, mode='w', prefix='img_align_celeba/', names=None):
    with tarfile.open(path, mode) as archive:
        for name in names or sorted(os.listdir(folder)):
            archive.add(folder / name, prefix + name)
    return path


def zip_of(folder, path, prefix='img_align_celeba/', names=None):
    with zipfile.ZipFile(path, 'w') as archive:
        for name in names or sorted(os.listdir(folder)):
            archive.write(folder / name, prefix + name)
    return path


def parquet_of(folder, root, shards, columns=None, path=True):
    """Shards as Hugging Face's CelebA has them: {shard: names of its images}."""
    pyarrow = pytest.importorskip('pyarrow')
    parquet = pytest.importorskip('pyarrow.parquet')
    for shard, names in shards.items():
        (root / shard).parent.mkdir(parents=True, exist_ok=True)
        rows = [{'bytes': (folder / name).read_bytes(), 'path': name if path else None}
                for name in names]
        table = {'image': rows, **{column: [values[name] for name in names]
                                   for column, values in (columns or {}).items()}}
        parquet.write_table(pyarrow.table(table), root / shard, row_group_size=3)
    return root


# Kinds of sources

@pytest.mark.parametrize('suffix, mode', [('.tar', 'w'), ('.tar.gz', 'w:gz'), ('.tgz', 'w:gz'),
                                          ('.tar.bz2', 'w:bz2'), ('.tar.xz', 'w:xz'),
                                          ('.zip', None)])
def test_an_archive_is_read_in_place_and_in_name_order(images, tmp_path, suffix, mode):
    _, from_folder = load(images)
    mixed = [NAMES[i] for i in (3, 9, 0, 1, 8, 2, 4, 7, 6, 5)]
    (tmp_path / 'archives').mkdir()
    root = tmp_path / f'archives/faces{suffix}'
    if mode:
        tar_of(images, root, mode, './faces/', mixed)
    else:
        zip_of(images, root, 'faces/', mixed)
        with zipfile.ZipFile(root, 'a') as archive:
            archive.writestr('__MACOSX/._000001.jpg', b'junk')
    for n_images in (None, 4):
        names, pixels = load(root, n_images=n_images)
        assert names == [f'faces/{name}' for name in NAMES[:n_images]]
        assert np.array_equal(pixels, from_folder[:n_images])
    assert sorted(os.listdir(root.parent)) == [root.name, f'{root.name}.64x64.crop168.cache']


def test_parquet_shards_give_the_same_images(images, tmp_path):
    _, from_folder = load(images)
    shards = {'data/train-00000-of-00002.parquet': NAMES[5:8],
              'data/train-00001-of-00002.parquet': NAMES[:5],
              'data/test-00000-of-00001.parquet': NAMES[8:]}
    root = parquet_of(images, tmp_path / 'hub', shards)
    (root / 'README.md').write_text('a card')
    names, pixels = load(root)
    assert names == NAMES
    assert np.array_equal(pixels, from_folder)
    assert load(root / 'data/test-00000-of-00001.parquet')[0] == NAMES[8:]       # by itself
    names, pixels = load(parquet_of(images, tmp_path / 'no paths', shards, path=False))
    assert names[0] == 'data/test-00000-of-00001/000000'         # named by their rows
    assert names[-1] == 'data/train-00001-of-00002/000004' and len(names) == 10
    assert np.array_equal(pixels, from_folder[[8, 9, 5, 6, 7, 0, 1, 2, 3, 4]])


def test_pyarrow_is_asked_for_in_a_sentence(tmp_path, monkeypatch):
    (tmp_path / 'train.parquet').write_bytes(b'PAR1' + bytes(100) + b'PAR1')
    monkeypatch.setitem(__import__('sys').modules, 'pyarrow.parquet', None)
    with pytest.raises(UserError, match='pip install pyarrow'):
        load(tmp_path)


def test_shards_of_something_else_are_refused_in_a_sentence(tmp_path):
    pyarrow, parquet = pytest.importorskip('pyarrow'), pytest.importorskip('pyarrow.parquet')
    shard = tmp_path / 'train-0.parquet'
    shard.write_bytes(b'version https://git-lfs.github.com/spec/v1\n')
    with pytest.raises(UserError, match='git lfs pull'):
        load(tmp_path)
    parquet.write_table(pyarrow.table({'text': ['a']}), shard)
    with pytest.raises(UserError, match='no column "image"'):
        load(tmp_path)


def test_a_single_picture(images, tmp_path):
    names, pixels = load(images / '000004.jpg', cache_dir=tmp_path / 'decoded')
    assert names == ['000004.jpg']
    assert np.array_equal(pixels[0], load(images)[1][3])
    (images / '000004.jpg').rename(tmp_path / 'no suffix')
    assert load(tmp_path / 'no suffix')[0] == ['no suffix']


def test_links_are_followed_once_and_loops_end(images, tmp_path):
    root = tmp_path / 'mine'
    (root / 'deep').mkdir(parents=True)
    (root / 'b').symlink_to(images)
    (root / 'a').symlink_to(images)                        # the first by name has them
    (root / 'deep' / 'up').symlink_to(root)
    (root / 'deep' / 'out').symlink_to(tmp_path)           # what root lies in
    (root / 'deep' / 'self').symlink_to(root / 'deep' / 'self')
    make_image(3).save(root / 'deep' / 'own.png')
    (root / 'z').symlink_to(root / 'deep')
    found = find_source(root).files
    assert [name for name, _, _ in found] == [f'a/{name}' for name in NAMES] + ['deep/own.png']
    assert len(load(root)[0]) == 11


@pytest.mark.skipif(os.name == 'nt', reason='names of bytes')
def test_names_in_any_encoding(images, tmp_path):
    odd = [os.fsdecode(b'\xc4\xe3\xba\xc3.jpg'), '脸.jpg', 'a\nb.jpg']
    for name, new in zip(NAMES, odd):
        (images / name).rename(images / new)
    assert sorted(load(images)[0]) == sorted([*NAMES[3:], *odd])
    root = tar_of(images, tmp_path / 'odd.tar', prefix='')
    assert sorted(load(root)[0]) == sorted([*NAMES[3:], *odd])


# What is no source

PAGE = b'\n<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>'


@pytest.mark.parametrize('content, sentence', [
    (PAGE, r'img_align_celeba.zip is a web page \(HTML\), as Google Drive .*data/README.md'),
    (b'', 'is empty'), (b'7z\xbc\xaf\x27\x1c' + bytes(90), '7z or RAR archive: unpack'),
    (gzip.compress(b'hello'), 'no tar in it'),
    (b'1\nA B\n000001.jpg 1 -1\n', 'no picture, zip, tar or Parquet'),
    (bytes(range(256)), 'no picture, zip, tar or Parquet'),
    (b'version https://git-lfs.github.com/spec/v1\n', 'git lfs pull')])
def test_a_file_that_is_something_else_is_named(tmp_path, content, sentence):
    root = tmp_path / 'img_align_celeba.zip'
    root.write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        load(root)
    assert os.listdir(tmp_path) == ['img_align_celeba.zip']


@pytest.mark.parametrize('kind', ['zip', 'tar', 'tar.gz', 'parquet'])
def test_an_archive_cut_short_is_an_error(images, tmp_path, kind):
    root = tmp_path / f'faces.{kind}'
    if kind == 'zip':
        zip_of(images, root)
    elif kind == 'parquet':
        parquet_of(images, tmp_path, {root.name: NAMES})
    else:
        tar_of(images, root, 'w:gz' if kind == 'tar.gz' else 'w')
    root.write_bytes(root.read_bytes()[:20_000])
    with pytest.raises(UserError, match='cannot be read to its end.*download it again'):
        load(root)
    assert sorted(os.listdir(tmp_path)) == [root.name, 'images']


# Formats

def test_what_is_read_is_what_pillow_reads():
    for suffix in ('.jpg', '.JFIF', '.png', '.webp', '.bmp', '.tif', '.tiff', '.ppm', '.pgm',
                   '.gif', '.jp2', '.tga', '.ico'):
        assert sources.is_image('a' + suffix), suffix
    for name in ('a.pdf', 'a.eps', 'a.ps', 'a.mpg', 'a.h5', 'a.txt', 'a.csv', 'a.md', 'a.json',
                 'a.zip', 'a.html', 'a.mp4', 'a.py', '.a.jpg', 'Thumbs.db', 'desktop.ini', 'jpg'):
        assert not sources.is_image(name), name


def gradient():
    return Image.radial_gradient('L').resize((178, 178)).convert('RGB')


def check_same(tmp_path, name, save, image, by):
    """A picture that `save` writes is read as the image is that it shows."""
    (tmp_path / 'mine').mkdir()
    save(tmp_path / 'mine' / name)
    image.save(tmp_path / 'same.png')
    names, pixels = load(tmp_path / 'mine', crop='auto')
    assert names == [name]
    assert close(pixels, load(tmp_path / 'same.png', crop='auto')[1], by)


@pytest.mark.parametrize('suffix', ['.tif', '.tiff', '.ppm', '.gif', '.jfif', '.avif', '.jp2',
                                    '.tga', '.webp', '.bmp', '.png', '.pcx', '.qoi', '.sgi',
                                    '.heic'])
def test_a_picture_in_each_format(tmp_path, suffix):
    sources.readable()                               # HEIC is known to Pillow from here on
    options = {'.webp': {'lossless': True}, '.jp2': {'irreversible': False},
               '.jfif': {'quality': 95}, '.avif': {'quality': 95}, '.heic': {'quality': 95}}
    try:
        gradient().save(tmp_path / f'a{suffix}', **options.get(suffix, {}))
    except (OSError, KeyError, ValueError):
        pytest.skip('this Pillow does not write it')
    check_same(tmp_path, f'a{suffix}', (tmp_path / f'a{suffix}').rename, gradient(), by=6)


@pytest.mark.parametrize('mode', ['CMYK', 'YCbCr', 'LAB', '1', 'L', 'P'])
def test_every_mode_of_a_tiff(tmp_path, mode):
    if mode == 'LAB':
        profiles = [ImageCms.createProfile(name) for name in ('sRGB', 'LAB')]
        image = gradient()
        other = ImageCms.profileToProfile(image, *profiles, outputMode='LAB')
    else:
        other = gradient().convert(mode)
        image = other.convert('RGB')
    check_same(tmp_path, 'a.tif', other.save, image, by=4)


def test_a_png_with_megabytes_of_text(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text('workflow', 'x' * 5_000_000, zip=True)
    text.add_itxt('prompt', 'y' * 5_000_000, zip=True)
    check_same(tmp_path, 'a.png', functools.partial(gradient().save, pnginfo=text), gradient(), 0)


def test_the_first_frame_counts(tmp_path):
    (tmp_path / 'films').mkdir()
    red, blue = (Image.new('RGB', (64, 64), colour) for colour in ('red', 'blue'))
    for suffix in ('gif', 'webp', 'tiff'):
        red.save(tmp_path / 'films' / f'a.{suffix}', save_all=True, append_images=[blue])
    for image in load(tmp_path / 'films')[1]:
        assert close(image.mean(axis=(1, 2)), [254, 0, 0], by=3)


@pytest.mark.parametrize('mode, clear', [('RGBA', None), ('LA', None), ('P', 200), ('L', 200),
                                         ('RGB', (0, 255, 0))])
def test_what_is_transparent_lies_on_white(tmp_path, mode, clear):
    (tmp_path / 'clear').mkdir()
    if clear is None:
        image = Image.new('RGBA', (64, 64), (0, 0, 0, 0))
        image.paste((0, 0, 0, 255), (0, 0, 32, 64))              # left half black
        image.convert(mode).save(tmp_path / 'clear' / 'a.png')
    else:
        image = Image.new(mode, (64, 64), clear)
        if mode == 'P':
            image.putpalette([0, 0, 0] * 256)
        image.paste((0, 0, 0) if mode == 'RGB' else 0, (0, 0, 32, 64))
        image.save(tmp_path / 'clear' / 'a.png', transparency=clear)
    _, pixels = load(tmp_path / 'clear')
    assert pixels[0, :, :, :30].max() == 0 and pixels[0, :, :, 34:].min() == 255


@pytest.mark.parametrize('name, values', [
    ('a.png', np.linspace(0, 4095, 64 * 64).astype(np.uint16)),        # 12 bits in 16
    ('a.tif', np.linspace(1000, 65535, 64 * 64).astype(np.uint16)),
    ('b.tif', np.linspace(-70_000, 70_000, 64 * 64).astype(np.int32)),
    ('c.tif', np.linspace(0, 1, 64 * 64).astype(np.float32)),
    ('d.tif', np.linspace(-3, 1e6, 64 * 64).astype(np.float32)),
    ('a.pgm', np.linspace(0, 65535, 64 * 64).astype(np.uint16))])
def test_deep_images_are_scaled_by_their_own_range(tmp_path, name, values):
    (tmp_path / 'deep').mkdir()
    Image.fromarray(values.reshape(64, 64)).save(tmp_path / 'deep' / name)
    _, pixels = load(tmp_path / 'deep')
    assert close(pixels[0, 0], np.linspace(0, 255, 64 * 64).reshape(64, 64))


def test_a_float_image_with_holes_or_of_one_value(tmp_path):
    (tmp_path / 'deep').mkdir()
    values = np.linspace(0, 2, 64 * 64, dtype=np.float32).reshape(64, 64)
    values[5, 5], values[6, 6] = np.nan, np.inf
    Image.fromarray(values).save(tmp_path / 'deep' / 'a.tif')
    Image.fromarray(np.full((64, 64), 0.5, np.float32)).save(tmp_path / 'deep' / 'b.tif')
    _, pixels = load(tmp_path / 'deep')
    assert pixels[0, 0, 5, 5] == 0 and pixels[0, 0, 6, 6] == 255
    assert close(pixels[0, 0, 0, 0], 0) and close(pixels[0, 0, -1, -1], 255)
    assert close(pixels[1], 128)


def test_heic_files_are_left_out_until_they_can_be_read(images, tmp_path, monkeypatch, capsys):
    heif = pytest.importorskip('pillow_heif')
    sources.readable()
    heif.from_pillow(make_image(4)).save(images / 'phone.HEIC')
    all_suffixes, all_formats = sources.readable()
    with monkeypatch.context() as without:
        few = all_suffixes, tuple(f for f in all_formats if f != 'HEIF')
        for module in (sources, cache):
            without.setattr(module, 'readable', lambda: few)
        archive = zip_of(images, tmp_path / 'phone.zip')
        for root in (images, archive):
            for _ in range(2):                                   # decoded, then cached
                assert len(load(root)[0]) == 10
                said = capsys.readouterr().out
                assert '1 of 11 images' in said and 'HEIC (`pip install pillow-heif`' in said
        (tmp_path / 'only').mkdir()
        (images / 'phone.HEIC').rename(tmp_path / 'only' / 'phone.HEIC')
        for root in (tmp_path / 'only', tmp_path / 'only' / 'phone.HEIC'):
            with pytest.raises(UserError, match='pip install pillow-heif'):
                load(root)
    assert len(load(archive)[0]) == 11                           # installed: read
    assert load(tmp_path / 'only')[0] == ['phone.HEIC']
    assert 'HEIC' not in capsys.readouterr().out


# What cannot be read, and costs no memory

def test_a_link_that_leads_nowhere_is_unreadable(images, capsys):
    (images / '000010.jpg').unlink()
    (images / '000010.jpg').symlink_to(images / 'nowhere.jpg')
    assert load(images)[0] == NAMES[:9]
    assert '1 of 10 images' in (said := capsys.readouterr().out) and '000010.jpg' in said


@pytest.mark.parametrize('kind', ['zip', 'tar', 'tar.gz'])
def test_an_entry_that_unpacks_to_too_much_is_unreadable(images, tmp_path, kind, capsys,
                                                         monkeypatch):
    """Made small: the limit is moved. Nor is a link in a tar followed."""
    monkeypatch.setattr(sources, 'LARGEST', 2**20)
    root = tmp_path / f'bomb.{kind}'
    (images / 'bomb.jpg').write_bytes(bytes(2**22))
    if kind == 'zip':
        zip_of(images, root)
    else:
        (images / 'link.jpg').symlink_to(images / NAMES[0])
        with tarfile.open(root, 'w:gz' if kind == 'tar.gz' else 'w') as archive:
            for name in ('bomb.jpg', *NAMES, 'link.jpg'):
                archive.add(images / name, name)
            for name in NAMES:                           # or two are too many to go on
                archive.add(images / name, f'again/{name}')
    names, _ = load(root)
    assert {Path(name).name for name in names} == set(NAMES)
    assert 'bomb.jpg (unpacks to 4 MB, more than 1 MB)' in (said := capsys.readouterr().out)
    assert kind == 'zip' or 'link.jpg (a link inside a tar)' in said


def test_a_pipe_or_a_device_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    for root in (tmp_path / 'pipe', '/dev/zero', '/dev/null'):
        with pytest.raises(UserError, match='is a device or a pipe'):
            find_source(root)
