import os
import weakref

import numpy
import pytest
import torch
from conftest import interrupt
from PIL import Image

from dldemos.VAE import main as program
from dldemos.VAE.images import saved
from dldemos.VAE.images.grids import grid, to_bytes
from dldemos.VAE.images.saved import check_folder, draw_and_save
from dldemos.VAE.model import VAE
from dldemos.VAE.support.errors import UserError


def pixels_of(path):
    return torch.from_numpy(numpy.array(Image.open(path))).permute(2, 0, 1)


def test_each_image_is_a_file_and_the_picture_is_the_same(tmp_path, capsys):
    images = torch.rand(21, 3, 16, 16)
    picture = draw_and_save(iter(images.split(8)), 21, tmp_path / 'new' / 'faces')
    files = sorted(os.listdir(tmp_path / 'new' / 'faces'))
    assert files == [f'{i:06}.png' for i in range(1, 22)]
    for image, name in zip(to_bytes(images), files):
        assert torch.equal(pixels_of(tmp_path / 'new' / 'faces' / name), image)
    assert numpy.array_equal(numpy.asarray(picture), numpy.asarray(grid(images)))
    assert 'faces: 21 in' in capsys.readouterr().out


def test_faces_that_the_picture_has_no_room_for_are_saved_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', (4 * 10) ** 2)
    batches = iter(torch.rand(40, 3, 8, 8).split(4))
    assert draw_and_save(batches, 40, tmp_path / 'faces').size == (82, 22)        # 16
    assert len(os.listdir(tmp_path / 'faces')) == 40


def test_faces_of_an_earlier_call_are_replaced_and_none_is_left_over(tmp_path):
    for n in (12, 5):
        images = torch.rand(n, 3, 8, 8)
        draw_and_save(iter(images.split(5)), n, tmp_path)
        assert len(check_folder(tmp_path)) == len(os.listdir(tmp_path)) == n
        assert torch.equal(pixels_of(tmp_path / '000001.png'), to_bytes(images[0]))


@pytest.mark.parametrize('name', ['notes.txt', '000001.png', 'face.png', '000002.png/'])
def test_a_folder_with_anything_else_in_it_is_left_alone(tmp_path, name):
    """A PNG of the same name too, as CelebA's own are called: it is not ours to overwrite."""
    if name.endswith('/'):
        (tmp_path / name).mkdir()
    elif name.endswith('.png'):
        Image.new('RGB', (8, 8)).save(tmp_path / name)
    else:
        (tmp_path / name).write_text('mine')
    before = os.listdir(tmp_path)
    with pytest.raises(UserError, match=f'holds {name.strip("/")}.*--save_images an empty folder'):
        draw_and_save(iter([torch.rand(2, 3, 8, 8)]), 2, tmp_path)
    assert os.listdir(tmp_path) == before


def test_what_is_interrupted_leaves_whole_files_alone(tmp_path, monkeypatch):
    def batches():
        yield torch.rand(4, 3, 8, 8)
        monkeypatch.setattr(saved.os, 'replace', interrupt)
        yield torch.rand(4, 3, 8, 8)

    (tmp_path / '.DS_Store').write_bytes(b'')                     # as file managers leave
    with pytest.raises(KeyboardInterrupt):
        draw_and_save(batches(), 8, tmp_path)
    assert sorted(os.listdir(tmp_path)) == ['.DS_Store', *(f'{i:06}.png' for i in range(1, 5))]
    (tmp_path / saved.TEMPORARY).write_bytes(b'killed')          # and what a killed one leaves
    monkeypatch.undo()
    draw_and_save(iter([torch.rand(2, 3, 8, 8)]), 2, tmp_path)
    assert sorted(os.listdir(tmp_path)) == ['.DS_Store', '000001.png', '000002.png']


def test_batches_are_saved_as_they_come_and_not_kept(tmp_path):
    alive = weakref.WeakSet()

    def batches():
        for _ in range(30):
            batch = torch.rand(4, 3, 8, 8)
            alive.add(batch)
            assert len(alive) <= 3
            yield batch
            del batch

    draw_and_save(batches(), 120, tmp_path / 'faces')


def test_generate_saves_what_it_draws(here, monkeypatch, capsys):
    torch.manual_seed(0)
    model, code = VAE(hiddens=(4, 8, 8, 8, 8), latent_dim=8), torch.randn(70, 8)
    with torch.no_grad():
        expected = to_bytes(model.eval().decode(code))
    picture = program.generate('cpu', model, code=code)
    assert not (here / 'faces').exists()
    monkeypatch.setattr(program, 'save_images', 'faces')          # read when it is called
    assert numpy.array_equal(numpy.asarray(program.generate('cpu', model, code=code)),
                             numpy.asarray(picture))
    found = torch.stack([pixels_of(here / 'faces' / name)
                         for name in sorted(os.listdir(here / 'faces'))])
    assert found.shape == expected.shape
    assert (found.int() - expected.int()).abs().max() <= 1         # batches of 64, or all at once


def test_a_folder_that_is_in_use_is_refused_before_anything_is_done(here, capsys):
    (here / 'mine').mkdir()
    (here / 'mine' / 'photo.jpg').write_bytes(b'mine')
    with pytest.raises(UserError, match='mine holds photo.jpg'):
        program.main(['train', 'generate', '--save_images', 'mine', '--device', 'cpu'])
    assert not (here / 'data').exists()
    program.main(['generate', '--save_images', 'faces', '--n_samples', '3', '--device', 'cpu'])
    assert len(os.listdir(here / 'faces')) == 3
