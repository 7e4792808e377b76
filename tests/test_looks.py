"""Images known again by their looks: the one rule of what is held out."""
import io
import re
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, SMALL, interrupt, make_image
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Subset

from dldemos.VAE import main as program
from dldemos.VAE.images.cache import look
from dldemos.VAE.images.looks import (
    TOLERANCE,
    are_known,
    looks_of,
    squared_distances,
    tolerance_of,
)
from dldemos.VAE.load_celebA import CelebADataset
from dldemos.VAE.model import VAE
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.training import log
from dldemos.VAE.weights import read_looks, read_manifest, weights_file

HALF_SIZE = REPOSITORY.parent / 'shared/celeba/img_half.tar'


def looks(pictures):
    return np.frombuffer(b''.join(map(look, pictures)), np.uint8).reshape(-1, 64)


def anew(image, size=None, quality=78, suffix='JPEG'):
    """The picture, resized and encoded once more."""
    file = io.BytesIO()
    image.resize(size or image.size, Image.Resampling.BICUBIC).save(file, suffix, quality=quality)
    return Image.open(file).convert('RGB')


@pytest.mark.parametrize('how', [
    {}, {'quality': 20}, {'size': (89, 109)}, {'size': (64, 78)}, {'size': (356, 436)},
    {'suffix': 'PNG'}, {'size': (133, 163), 'suffix': 'WebP'}])
def test_a_picture_is_known_at_other_sizes_and_in_other_encodings(how):
    pictures = [make_image(i) for i in range(1, 11)]
    known = looks(pictures)
    assert are_known(looks([anew(picture, **how) for picture in pictures]), known, 1.5).all()
    others = [ImageOps.mirror(picture) for picture in pictures]
    assert not are_known(looks([*others, *map(make_image, range(20, 30))]), known, 1.5).any()


def test_distances_are_those_of_every_pair():
    random = np.random.default_rng(0)
    some = random.integers(0, 230, (3000, 1)) + random.integers(0, 20, (3000, 64))
    others = some[:500] + random.integers(0, 12, (500, 64))
    some, others = some.astype(np.uint8), others.clip(0, 255).astype(np.uint8)
    expected = np.stack([((others - row.astype(float))**2).mean(1).min() for row in some])
    found = squared_distances(some, others, 6)
    near = expected <= 36
    assert 0.01 < near.mean() < 1
    np.testing.assert_allclose(found[near], expected[near])
    assert (found[~near] > 36).all()


def test_pictures_that_are_alike_have_a_smaller_tolerance():
    """A quarter of the distance below which one in a hundred has a neighbour; copies apart."""
    base = np.random.default_rng(0).integers(20, 230, (1, 64)).astype(np.uint8)
    apart = np.repeat(base, 200, 0)
    apart[np.arange(200), np.arange(200) % 64] += (8 * (1 + np.arange(200) // 64)).astype(np.uint8)
    tolerance = tolerance_of(np.concatenate([apart, apart]))
    assert tolerance == pytest.approx(1 / 4)                         # 8 grey levels in one of 64
    assert not are_known(apart[1:], apart[:1], tolerance).any()
    pair = np.concatenate([looks(map(make_image, range(1, 11))), looks([make_image(1)]) ^ 1])
    assert tolerance_of(pair) > 2                                    # one pair decides nothing
    assert tolerance_of(apart[:1]) == tolerance_of(apart[:0]) == TOLERANCE


@pytest.fixture
def held_out(here, capsys):
    """A function: options of an action -> (how many images are held out, of how many)."""
    def count(*options):
        capsys.readouterr()
        program.main(['reconstruct', '--device', 'cpu', *map(str, options)])
        lines = re.findall(r'images: .*; held out: ([\d,]+) of ([\d,]+)', capsys.readouterr().out)
        (held_out, n), = lines
        return int(held_out.replace(',', '')), int(n.replace(',', ''))
    return count


def folder_of(here, name, pictures):
    """A folder of pictures {file name: PIL image}."""
    (here / name).mkdir()
    for file, picture in pictures.items():
        picture.save(here / name / file)
    return name


def strangers(here, name='mine', first=20):
    """A folder of five pictures that no weights know."""
    return folder_of(here, name, {f'{i}.png': make_image(first + i) for i in range(5)})


def test_what_is_held_out_depends_on_the_looks_alone(trained, here, held_out):
    names = sorted(path.name for path in trained.iterdir())
    own = {name: Image.open(trained / name).convert('RGB') for name in names}
    others = {name: make_image(50 + i) for i, name in enumerate(names)}
    sets = {
        'encoded anew': ({n: anew(p) for n, p in own.items()}, 1),
        'half the size': ({n: anew(p, (89, 109)) for n, p in own.items()}, 1),
        'other names': ({f'photo {n}.png': p for n, p in own.items()}, 1),
        'strangers of the same names': (others, 10),
        'a mixture': ({**others, **{n: own[n] for n in names[:4]}}, 6),
        'mirrored': ({n: ImageOps.mirror(p) for n, p in own.items()}, 10),
        'cut': ({n: p.crop((20, 40, 158, 178)) for n, p in own.items()}, 10)}
    for name, (pictures, expected) in sets.items():
        assert held_out('--data_root', folder_of(here, name, pictures)) == (expected, 10), name
    with zipfile.ZipFile(here / 'some.zip', 'w') as archive:
        for path in trained.iterdir():
            archive.write(path, f'deep/{path.name[::-1]}.jpg')
    for options in ([], ['--crop', '60'], ['--data_root', 'some.zip'], ['--data_root', './images']):
        assert held_out(*options) == (1, 10), options


def test_a_held_out_image_that_is_trained_on_under_another_name_does_not_count(images, held_out,
                                                                              capsys):
    anew(Image.open(images / '000003.jpg')).save(images / '000011.jpg')      # in the last tenth
    make_image(50).save(images / '000012.jpg')
    options = ['--data_root', str(images), '--held_out', '0.2']
    program.main(['train', '--n_epochs', '1', *options, *SMALL])
    assert 'held out: 1 of 12' in capsys.readouterr().out
    assert held_out() == (1, 12)


def test_images_that_are_gone_are_told_and_others_looked_at(trained, here, held_out, capsys):
    (here / 'data/celebA').mkdir(parents=True)
    trained.rename(here / 'data/celebA/img_align_celeba')
    assert held_out() == (1, 10)                        # found at CelebA's place, and known again
    shutil.rmtree(here / 'data')
    capsys.readouterr()
    program.main(['traverse', '--device', 'cpu'])       # which can do without
    assert 'which these weights were trained on, are there no more' in capsys.readouterr().out
    assert not (here / 'data').exists()


class OfMyOwn(torch.utils.data.Dataset):
    """No CelebADataset, and no part of one."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return self.dataset[index]


@pytest.mark.parametrize('of_my_own, is_known', [(True, False), (False, True)])
def test_weights_of_a_loader_of_ones_own(images, here, held_out, of_my_own, is_known):
    dataset = Subset(Subset(CelebADataset(images), range(8)), [1, 3, 5, 7])
    loader = DataLoader(OfMyOwn(dataset) if of_my_own else dataset, 2)
    program.train('cpu', loader, VAE((4, 8, 8, 8, 8), 8), n_epochs=1)
    if is_known:
        assert held_out() == (6, 10)
        return
    for action in ('reconstruct', 'evaluate'):
        with pytest.raises(UserError, match='not known which images .*model.pth was trained on'):
            program.main([action, '--device', 'cpu'])
    program.main(['interpolate', 'explore', '--device', 'cpu'])
    assert held_out('--data_root', images) == (10, 10)
    assert not (here / 'data').exists()


@pytest.mark.parametrize('spoil', ['of an earlier version', 'missing', 'damaged', 'others'])
def test_weights_whose_looks_are_not_known_know_no_image(trained, here, held_out, capsys, spoil):
    path = here / 'dldemos/VAE/model.looks.npy'
    if spoil == 'of an earlier version':
        manifest = here / 'dldemos/VAE/model.json'
        manifest.write_text(manifest.read_text().replace('"looks"', '"first"'))
    elif spoil == 'missing':
        path.unlink()
    elif spoil == 'damaged':
        path.write_bytes(path.read_bytes()[:70])
    else:
        np.save(path, np.zeros((9, 64), np.uint8))
    assert held_out('--data_root', trained) == (10, 10)
    program.main(['reconstruct', '--data_root', str(trained), '--device', 'cpu'])
    said = capsys.readouterr().out
    assert 'not known which images these weights were trained on: all but those' in said
    assert ('model.looks.npy is missing or of other' in said) == (spoil != 'of an earlier version')


def test_what_priors_are_fitted_to_is_not_judged(trained, here, capsys, held_out):
    """The images trained on; where they are gone, one half of others, which stays known."""
    strangers(here)

    def said(*arguments):
        capsys.readouterr()
        program.main([*arguments, '--device', 'cpu'])
        return capsys.readouterr().out

    assert f'fitting to the codes of 9 images in {trained}, that these weights' \
           ' know' in said('generate', '--prior', 'gaussian', '--data_root', 'mine')
    assert 'fitting' not in said('generate', '--prior', 'gaussian')
    assert 'fitting' not in said('generate', '--prior', 'gaussian', '--n_images', '3')
    (here / 'dldemos/VAE/model.prior.pth').unlink()
    trained.rename(here / 'gone')
    for fits in (True, False):                              # the second time nothing is fitted
        output = said('evaluate', '--data_root', 'mine')
        assert ('codes of 3 images in mine, which these weights do not know' in output) == fits
        assert re.search(r'^images +2$', output, re.M)
    assert held_out('--data_root', 'mine') == (2, 5)
    assert held_out('--data_root', 'gone') == (1, 10)


def test_weights_know_the_images_of_those_they_started_from(trained, here, held_out):
    strangers(here)
    for _ in range(2):                                      # the second time from themselves
        program.main(['train', '--data_root', 'mine', '--init', 'dldemos/VAE/model.pth',
                      '--n_epochs', '1', *SMALL])
    assert held_out('--data_root', trained) == (1, 10)
    assert held_out('--data_root', 'mine') == (0, 5)


@pytest.mark.parametrize('change', ['another training', 'removed'])
def test_a_resumed_run_knows_the_images_of_the_weights_it_started_from(trained, here, held_out,
                                                                      monkeypatch, change):
    """As they were at its start."""
    strangers(here)
    strangers(here, 'others', 40)
    options = ['train', '--n_epochs', '2', *SMALL, '--data_root']
    with monkeypatch.context() as patch:
        patch.setattr(log, 'show_epoch', interrupt)
        with pytest.raises(KeyboardInterrupt):
            program.main([*options, 'mine', '--init', program.ckpt_path, '--work_dir', 'w'])
    if change == 'removed':
        (here / program.ckpt_path).unlink()
    else:
        program.main([*options, 'others'])
    program.main(['train', '--resume', '--work_dir', 'w'])
    for name, expected in ((trained, 1), ('mine', 0), ('others', 5)):
        assert held_out('--work_dir', 'w', '--data_root', name)[0] == expected


def test_weights_that_started_from_unknown_ones_say_so(trained, here, capsys):
    (here / 'dldemos/VAE/model.json').unlink()
    strangers(here)
    for init, new in ((program.ckpt_path, 'a.pth'), ('a.pth', 'b.pth')):
        program.main(['train', '--n_epochs', '1', *SMALL, '--data_root', 'mine', '--init', init,
                      '--ckpt_path', new])
        program.main(['reconstruct', '--device', 'cpu', '--ckpt_path', new])
        assert 'not known which images the weights were trained on that these started from' in (
            capsys.readouterr().out)


def test_an_open_dataset_keeps_its_images_when_the_cache_is_made_anew(images):
    first = CelebADataset(images, n_images=4)
    pixels, looks = first[:], first.looks.copy()
    CelebADataset(images)                                    # of a larger cache
    make_image(70).save(images / '000000.jpg')
    CelebADataset(images, n_images=2)
    assert torch.equal(first[:], pixels) and np.array_equal(first.looks, looks)


def test_a_run_is_resumed_on_copies_of_its_images(trained, here, capsys):
    shutil.copytree(trained, here / 'copy', copy_function=shutil.copyfile)
    trained.rename(here / 'moved')
    (here / 'dldemos/VAE/model.pth').unlink()
    with pytest.raises(UserError, match='nothing at'):
        program.main(['train', '--resume'])
    program.main(['train', '--resume', '--data_root', 'copy'])
    assert 'was finished already: its weights are written again' in capsys.readouterr().out
    assert (here / 'dldemos/VAE/model.pth').exists()
    make_image(77).save(here / 'copy/000003.jpg')
    with pytest.raises(UserError, match='was started on other images'):
        program.main(['train', '--resume', '--data_root', 'copy'])


@pytest.mark.parametrize('name', ['pretrained', 'sharp'])
def test_the_bundled_weights_share_the_looks_of_the_images_they_know(name):
    path = weights_file(name)
    known, tolerance = read_looks(path, read_manifest(path))
    assert known.shape == (7200, 64) and tolerance == TOLERANCE
    assert looks_of(OfMyOwn([])) is None


@pytest.mark.skipif(not HALF_SIZE.exists(), reason='no faces of CelebA here')
@pytest.mark.parametrize('size', [(89, 109), (178, 218)])
def test_the_bundled_weights_know_celeba_by_any_name_and_size(here, held_out, size):
    with tarfile.open(HALF_SIZE) as archive:
        members = sorted((m for m in archive if m.isfile()), key=lambda m: m.name)[7190:7215]
        pictures = [anew(Image.open(archive.extractfile(m)).convert('RGB'), size)
                    for m in members]
    folder_of(here, 'faces', {f'{i:06}.jpg': picture for i, picture in enumerate(pictures, 1)})
    assert held_out('--data_root', 'faces') == (15, 25)
