"""Faces to train on where CelebA is absent, drawn by the bundled model."""
import os

import numpy as np
import pytest
import torch
from PIL import Image

from dldemos.VAE.images.looks import are_known, tolerance_of
from dldemos.VAE.latent.attributes import attribute_directions, read_attributes
from dldemos.VAE.latent.codes import encode_all
from dldemos.VAE.load_celebA import CelebADataset, batches
from dldemos.VAE.pretrained import directions, sample_faces, vae
from dldemos.VAE.pretrained.sample_faces import LIST_NAME, PUSHED, draw_sample_faces
from dldemos.VAE.weights import read_looks, read_manifest, weights_file


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    return draw_sample_faces(tmp_path_factory.mktemp('drawn') / 'faces', 400)


def test_they_are_faces_of_the_models_size_and_no_two_alike(drawn):
    dataset = CelebADataset(drawn)
    assert dataset.names == [f'{i:06}.jpg' for i in range(1, 401)]
    assert dataset.original_size == (64, 64)
    red, _, blue = dataset[:].mean((0, 2, 3))
    assert red > blue + 0.1                                          # skin, not noise
    looks = np.array(dataset.looks)
    assert tolerance_of(looks) > 2
    path = weights_file('sharp')
    assert not are_known(looks, *read_looks(path, read_manifest(path))).any()
    for i in (0, 399):
        assert not are_known(looks[i:i + 1], np.delete(looks, i, 0), 10).any()


def test_they_have_the_attributes_that_the_list_says(drawn):
    """What an attribute changes in the codes of the pictures is its direction."""
    head, names, *rows = (drawn / LIST_NAME).read_text().splitlines()
    assert head == '400 faces drawn by the bundled weights sharp at temperature 1.1; attributes ' \
                   'as their codes were pushed'
    assert names.split() == list(PUSHED) and len(rows) == 400
    dataset = CelebADataset(drawn)
    has = read_attributes(drawn, dataset.names)
    for name, (share, *_) in PUSHED.items():
        assert has[name].float().mean().item() == pytest.approx(share, abs=0.08), name
    mean, _ = encode_all(vae('sharp'), 'cpu', batches(dataset, 100, shuffle=False))
    for name, direction in attribute_directions(mean, has).items():
        assert torch.cosine_similarity(direction, directions('sharp')[name], dim=0) > 0.6, name


def test_same_seed_same_faces_and_the_callers_random_numbers_stay(tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    one, other, third = (draw_sample_faces(tmp_path / name, 5, seed) for name, seed in
                         (('one', 0), ('other', 0), ('third', 1)))
    assert torch.equal(torch.rand(2), expected)

    def contents(folder):
        return {path.name: path.read_bytes() for path in folder.iterdir()}
    assert contents(one) == contents(other) != contents(third)


def test_a_folder_that_is_there_stays_as_it_is(tmp_path, capsys):
    folder = draw_sample_faces(tmp_path / 'deep' / 'faces', 3)
    os.remove(folder / '000002.jpg')
    capsys.readouterr()
    assert draw_sample_faces(folder, 3) == folder
    assert capsys.readouterr().out == '' and len(list(folder.glob('*.jpg'))) == 2
    (folder / LIST_NAME).write_text('4000\nBald\n')                  # an earlier version's
    draw_sample_faces(folder, 3)
    assert 'holds other faces than this version draws: remove it' in capsys.readouterr().out


@pytest.mark.parametrize('error', [KeyboardInterrupt, OSError(28, 'No space left on device')])
def test_it_is_drawn_whole_or_not_at_all(tmp_path, monkeypatch, error):
    save = Image.Image.save

    def fails(self, path, **kwargs):
        if path.name == '000003.jpg':
            raise error
        save(self, path, **kwargs)

    monkeypatch.setattr(Image.Image, 'save', fails)
    with pytest.raises((KeyboardInterrupt, OSError)):
        draw_sample_faces(tmp_path / 'faces', 4)
    assert os.listdir(tmp_path) == []
    monkeypatch.undo()
    (tmp_path / '.faces.killed.tmp').mkdir()
    os.utime(tmp_path / '.faces.killed.tmp', (0, 0))                     # left alone for long
    (tmp_path / '.faces.at_work.tmp').mkdir()
    draw_sample_faces(tmp_path / 'faces', 4)
    assert sorted(os.listdir(tmp_path)) == ['.faces.at_work.tmp', 'faces']


def test_of_two_processes_the_first_to_end_is_taken(tmp_path, monkeypatch):
    draw_into = sample_faces.draw_into

    def meanwhile(folder, n_faces):
        monkeypatch.setattr(sample_faces, 'draw_into', draw_into)
        draw_sample_faces(tmp_path / 'faces', 3, 1)
        draw_into(folder, n_faces)

    monkeypatch.setattr(sample_faces, 'draw_into', meanwhile)
    draw_sample_faces(tmp_path / 'faces', 3, 0)
    assert os.listdir(tmp_path) == ['faces']
    assert len(os.listdir(tmp_path / 'faces')) == 4
