"""Each kind of source and each format of picture, with files that the tests make."""
import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import make_image
from PIL import Image, ImageCms, PngImagePlugin

from dldemos.VAE.images import cache, sources
from dldemos.VAE.images.sources import find_source, open_images
from dldemos.VAE.load_celebA import CelebADataset
from dldemos.VAE.support.errors import UserError

NAMES = [f'{i:06}.jpg' for i in range(1, 11)]


def load(root, crop=168, **kwargs):
    """Names and pixels of a root."""
    dataset = CelebADataset(root, crop=crop, **kwargs)
    return dataset.names, dataset.read_pixels(slice(None)).numpy()


def close(a, b, by=1):
    return np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).max() <= by


def tar_of(folder, path, mode='w', prefix='img_align_celeba/', names=None):
    with tarfile.open(path, mode) as archive:
        for name in names or sorted(os.listdir(folder)):
            archive.add(folder / name, prefix + name)
    return path


def zip_of(folder, path, prefix='img_align_celeba/'):
    with zipfile.ZipFile(path, 'w') as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, prefix + file.name)
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
                                          ('.tar.bz2', 'w:bz2'), ('.tar.xz', 'w:xz')])
def test_a_tar_is_read_in_place_and_in_name_order(images, tmp_path, suffix, mode):
    _, from_folder = load(images)
    mixed = [NAMES[i] for i in (3, 9, 0, 1, 8, 2, 4, 7, 6, 5)]
    root = tar_of(images, tmp_path / f'faces{suffix}', mode, './faces/', mixed)
    names, pixels = load(root)
    assert names == [f'faces/{name}' for name in NAMES]
    assert np.array_equal(pixels, from_folder)
    assert not (tmp_path / 'faces').exists()


def test_a_compressed_tar_is_read_once_from_its_start_to_its_end(images, tmp_path, monkeypatch):
    root = tar_of(images, tmp_path / 'faces.tar.gz', 'w:gz', names=NAMES[::-1])
    rewound = []
    rewind = gzip._GzipReader._rewind
    monkeypatch.setattr(gzip._GzipReader, '_rewind',
                        lambda self: rewound.append(1) or rewind(self))
    source = find_source(root)
    rewound.clear()
    entries, _ = open_images(source)
    assert [name for name, _ in entries] == [f'img_align_celeba/{n}' for n in NAMES[::-1]]
    assert not rewound


def test_parquet_shards_give_the_same_images(images, tmp_path):
    _, from_folder = load(images)
    root = parquet_of(images, tmp_path / 'hub', {
        'data/train-00000-of-00002.parquet': NAMES[5:8],
        'data/train-00001-of-00002.parquet': NAMES[:5],
        'data/test-00000-of-00001.parquet': NAMES[8:]})
    (root / 'README.md').write_text('a card')
    names, pixels = load(root)
    assert names == NAMES
    assert np.array_equal(pixels, from_folder)
    one = root / 'data/test-00000-of-00001.parquet'
    assert load(one)[0] == NAMES[8:]                               # a shard by itself


def test_images_without_a_path_are_named_by_their_rows(images, tmp_path):
    root = parquet_of(images, tmp_path / 'hub', {'train-0.parquet': NAMES[:6],
                                                 'train-1.parquet': NAMES[6:]}, path=False)
    names, pixels = load(root)
    assert names[0] == 'train-0/000000' and names[-1] == 'train-1/000003' and len(names) == 10
    assert np.array_equal(pixels, load(images)[1])


def test_pyarrow_is_asked_for_in_a_sentence(tmp_path, monkeypatch):
    (tmp_path / 'train.parquet').write_bytes(b'PAR1' + bytes(100) + b'PAR1')
    monkeypatch.setitem(__import__('sys').modules, 'pyarrow.parquet', None)
    with pytest.raises(UserError, match='pip install pyarrow'):
        load(tmp_path)


def test_damaged_shards_are_refused_in_a_sentence(images, tmp_path):
    root = parquet_of(images, tmp_path / 'hub', {'train-0.parquet': NAMES})
    whole = (root / 'train-0.parquet').read_bytes()
    for damaged, sentence in ((whole[:-50], 'download it again'),
                              (b'version https://git-lfs.github.com/spec/v1\n', 'git lfs pull')):
        (root / 'train-0.parquet').write_bytes(damaged)
        with pytest.raises(UserError, match=sentence):
            load(root)
    pyarrow, parquet = pytest.importorskip('pyarrow'), pytest.importorskip('pyarrow.parquet')
    parquet.write_table(pyarrow.table({'text': ['a']}), root / 'train-0.parquet')
    with pytest.raises(UserError, match='no column "image"'):
        load(root)


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


@pytest.mark.parametrize('mode', ['w', 'w:gz'])
def test_a_tar_cut_short_is_an_error(images, tmp_path, mode):
    root = tar_of(images, tmp_path / 'faces.tar', mode)
    root.write_bytes(root.read_bytes()[:20_000])
    with pytest.raises(UserError, match='cannot be read to its end.*download it again'):
        load(root)
    assert sorted(os.listdir(tmp_path)) == ['faces.tar', 'images']


# Formats

def listed():
    return sources.readable()[0]


def test_what_is_read_is_what_pillow_reads():
    for suffix in ('.jpg', '.JFIF', '.png', '.webp', '.bmp', '.tif', '.tiff', '.ppm', '.pgm',
                   '.gif', '.jp2', '.tga', '.ico'):
        assert sources.is_image('a' + suffix), suffix
    for name in ('a.pdf', 'a.eps', 'a.ps', 'a.mpg', 'a.h5', 'a.txt', 'a.csv', 'a.md', 'a.json',
                 'a.zip', 'a.html', 'a.mp4', 'a.py', '.a.jpg', 'Thumbs.db', 'desktop.ini', 'jpg'):
        assert not sources.is_image(name), name


@pytest.mark.parametrize('suffix', ['.tif', '.tiff', '.ppm', '.gif', '.jfif', '.avif', '.jp2',
                                    '.tga', '.webp', '.bmp', '.png', '.pcx', '.qoi', '.sgi',
                                    '.heic'])
def test_a_picture_in_each_format(tmp_path, suffix):
    if suffix not in listed():
        pytest.skip('this Pillow does not read it')
    (tmp_path / 'mine').mkdir()
    image = Image.radial_gradient('L').resize((178, 178)).convert('RGB')
    options = {'.webp': {'lossless': True}, '.jp2': {'irreversible': False},
               '.jfif': {'quality': 95}, '.avif': {'quality': 95}, '.heic': {'quality': 95}}
    try:
        image.save(tmp_path / 'mine' / f'a{suffix}', **options.get(suffix, {}))
    except (OSError, KeyError):
        pytest.skip('this Pillow does not write it')
    names, pixels = load(tmp_path / 'mine', crop='auto')
    image.save(tmp_path / 'same.png')
    assert names == [f'a{suffix}']
    assert close(pixels[0], load(tmp_path / 'same.png', crop='auto')[1][0], by=6)


@pytest.mark.parametrize('mode', ['CMYK', 'YCbCr', 'LAB', '1', 'L', 'P'])
def test_every_mode_of_a_tiff(tmp_path, mode):
    (tmp_path / 'mine').mkdir()
    image = Image.radial_gradient('L').resize((178, 178)).convert('RGB')
    if mode == 'LAB':
        profiles = [ImageCms.createProfile(name) for name in ('sRGB', 'LAB')]
        other = ImageCms.profileToProfile(image, *profiles, outputMode='LAB')
    else:
        other = image.convert(mode)
        image = other.convert('RGB')
    other.save(tmp_path / 'mine' / 'a.tif')
    image.save(tmp_path / 'same.png')
    assert close(load(tmp_path / 'mine', crop='auto')[1],
                 load(tmp_path / 'same.png', crop='auto')[1], by=4)


def test_the_first_frame_counts(tmp_path):
    (tmp_path / 'films').mkdir()
    red, blue = (Image.new('RGB', (64, 64), colour) for colour in ('red', 'blue'))
    for suffix in ('gif', 'webp', 'tiff'):
        red.save(tmp_path / 'films' / f'a.{suffix}', save_all=True, append_images=[blue])
    for image in load(tmp_path / 'films')[1]:
        assert close(image.mean(axis=(1, 2)), [254, 0, 0], by=3)


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'P', 'RGB', 'L'])
def test_what_is_transparent_lies_on_white(tmp_path, mode):
    (tmp_path / 'clear').mkdir()
    image = Image.new('RGBA', (64, 64), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 32, 64))                  # left half black
    options = {}
    if mode in ('P', 'L', 'RGB'):
        options = {'transparency': (0, 255, 0) if mode == 'RGB' else 200}
        flat = Image.new(mode, (64, 64), options['transparency'])
        if mode == 'P':
            flat.putpalette([0, 0, 0] * 256)
        flat.paste((0, 0, 0) if mode == 'RGB' else 0, (0, 0, 32, 64))
        image = flat
    else:
        image = image.convert(mode)
    image.save(tmp_path / 'clear' / 'a.png', **options)
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


def test_a_png_with_megabytes_of_text(tmp_path):
    (tmp_path / 'drawn').mkdir()
    text = PngImagePlugin.PngInfo()
    text.add_text('workflow', 'x' * 5_000_000, zip=True)
    text.add_itxt('prompt', 'y' * 5_000_000, zip=True)
    make_image(1).save(tmp_path / 'drawn' / 'a.png', pnginfo=text)
    before = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    names, pixels = load(tmp_path / 'drawn')
    make_image(1).save(tmp_path / 'same.png')
    assert names == ['a.png'] and np.array_equal(pixels, load(tmp_path / 'same.png')[1])
    assert before == (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)


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


class Zeros(io.RawIOBase):
    """So many zeros, which are made as they are read."""

    def __init__(self, size):
        self.left = size

    def readable(self):
        return True

    def readinto(self, buffer):
        n = min(len(buffer), self.left)
        buffer[:n] = bytes(n)
        self.left -= n
        return n


@pytest.mark.parametrize('kind', ['zip', 'tar', 'tar.gz'])
def test_an_entry_that_unpacks_to_too_much_is_unreadable(images, tmp_path, kind, capsys,
                                                         monkeypatch):
    """Made small: the limit is moved; nothing of the entry is read."""
    monkeypatch.setattr(sources, 'LARGEST', 2**20)
    root, size = tmp_path / f'bomb.{kind}', 2**22
    if kind == 'zip':
        zip_of(images, root)
        with zipfile.ZipFile(root, 'a', zipfile.ZIP_DEFLATED) as archive:
            archive.writestr('img_align_celeba/bomb.jpg', bytes(size))
    else:
        with tarfile.open(root, 'w:gz' if kind == 'tar.gz' else 'w') as archive:
            member = tarfile.TarInfo('bomb.jpg')
            member.size = size
            archive.addfile(member, io.BufferedReader(Zeros(size)))
            link = tarfile.TarInfo('000011.jpg')
            link.type, link.linkname = tarfile.SYMTYPE, '000001.jpg'
            for name in NAMES:
                archive.add(images / name, name)
    names, _ = load(root)
    assert [Path(name).name for name in names] == NAMES
    assert 'bomb.jpg (unpacks to 4 MB, more than 1 MB)' in capsys.readouterr().out


def test_a_pipe_or_a_device_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    for root in (tmp_path / 'pipe', '/dev/zero', '/dev/null'):
        with pytest.raises(UserError, match='is a device or a pipe'):
            find_source(root)
