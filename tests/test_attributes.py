"""Attributes as directions: recovered where they are known, kept beside weights, drawn."""
import shutil
from pathlib import Path

import pytest
import torch
from conftest import SMALL, make_image, small_vae
from PIL import Image

from dldemos.VAE import main as program
from dldemos.VAE.latent import attributes
from dldemos.VAE.latent.attributes import (
    STEP,
    attribute_directions,
    draw_attributes,
    find_attribute,
)
from dldemos.VAE.latent.fitted import DIRECTIONS, load_or_fit
from dldemos.VAE.pretrained.sample_faces import draw_sample_faces
from dldemos.VAE.support.errors import UserError, exit_status


def codes_of_men(n=4000, latent_dim=6):
    """Codes to which being bald and being a man each add a vector; nearly all the bald are men."""
    torch.manual_seed(0)
    man = torch.rand(n) < 0.4
    bald = torch.rand(n) < torch.where(man, 0.4, 0.01)
    adds = torch.randn(2, latent_dim)
    mean = 5 + 0.2 * torch.randn(n, latent_dim) + torch.stack([man, bald], 1).float() @ adds
    return mean, {'Male': man, 'Bald': bald}, adds


def cosine(a, b):
    return torch.cosine_similarity(a, b, dim=0).item()


def test_a_direction_is_what_one_attribute_adds_where_another_comes_with_it():
    mean, known, (adds_man, adds_bald) = codes_of_men()
    directions = attribute_directions(mean, known)
    assert cosine(directions['Bald'], adds_bald) > 0.998
    assert cosine(directions['Male'], adds_man) > 0.998
    means = mean[known['Bald']].mean(0) - mean[~known['Bald']].mean(0)
    assert cosine(means, adds_bald) < 0.95                           # what the fit is for
    for direction in directions.values():
        along = mean @ torch.nn.functional.normalize(direction, dim=0)
        assert direction.norm().item() == pytest.approx(STEP * along.std().item(), rel=1e-4)


def test_attributes_beside_those_controlled_for_have_directions_too():
    mean, known, (_, adds_bald) = codes_of_men()
    directions = attribute_directions(mean, {'No_Hair': known['Bald'], 'Male': known['Male']})
    assert cosine(directions['No_Hair'], adds_bald) > 0.998


def test_attributes_that_coincide_are_constant_or_rare_do_no_harm():
    mean, known, (adds_man, adds_bald) = codes_of_men()
    n = len(mean)
    directions = attribute_directions(mean, {
        **known, 'Young': known['Bald'], 'Smiling': torch.ones(n, dtype=torch.bool),
        'Bangs': torch.arange(n) < 3, 'No_Beard': ~known['Male']})
    assert list(directions) == ['Male', 'Bald', 'Young', 'No_Beard']
    assert cosine(directions['Bald'], adds_bald) > 0.998
    assert cosine(directions['Young'], adds_bald) > 0.998
    assert cosine(directions['No_Beard'], -adds_man) > 0.998


def test_codes_that_are_all_alike_have_no_direction_and_no_nan():
    directions = attribute_directions(torch.ones(60, 2), {'Smiling': torch.arange(60) < 30})
    assert torch.equal(directions['Smiling'], torch.zeros(2))


def test_too_few_images_are_refused_in_a_sentence():
    for n in (1, 30):
        with pytest.raises(UserError, match='at least 20 must have it.*Take more images'):
            attribute_directions(torch.randn(n, 2), {'Smiling': torch.arange(n) % 2 == 0})
    assert attribute_directions(torch.randn(40, 2), {'Smiling': torch.arange(40) % 2 == 0})


@pytest.mark.parametrize('name', ['Pale_Skin', 'pale_skin', 'PALE SKIN', ' pale-skin '])
def test_an_attribute_is_found_however_it_is_written(name):
    assert find_attribute(name, {'Smiling': 0, 'Pale_Skin': 0}) == 'Pale_Skin'


def test_an_attribute_that_there_is_not_is_refused_with_a_similar_one():
    for name in ('Smilling', 'SMILLING'):
        with pytest.raises(UserError, match=r'did you mean Smiling\?.*there are Smiling, Bald'):
            find_attribute(name, {'Smiling': 0, 'Bald': 0})


def rows_drawn(monkeypatch):
    """What labelled_rows of latent/attributes.py is called with from now on."""
    drawn, rows_of = [], attributes.labelled_rows
    monkeypatch.setattr(attributes, 'labelled_rows', lambda rows, columns: drawn.append(
        (rows, columns)) or rows_of(rows, columns))
    return drawn


def test_a_row_goes_from_less_to_more_of_an_attribute(here, monkeypatch):
    drawn = rows_drawn(monkeypatch)
    model, code = small_vae().eval(), torch.randn(2, 8)
    directions = {'Odd': torch.ones(8), 'Male': torch.arange(8.0), 'Smiling': torch.ones(8)}
    draw_attributes('cpu', model, directions, random_codes=lambda n: code[:n])
    rows, columns = drawn[0]
    assert [name for name, _ in rows] == ['Smiling', 'Male']         # in the order of the list
    assert columns == ['-2.0', '-1.0', '+0.0', '+1.0', '+2.0'] * 2
    for of_code, at in ((code[0], 0), (code[1], 5)):
        torch.testing.assert_close(rows[1][1][at], model.decode(
            of_code.unsqueeze(0) - 2 * directions['Male'])[0].detach())
    assert (here / 'work_dirs/attributes.jpg').exists()


@pytest.mark.parametrize('n_faces', [1, 3, 20])
def test_one_attribute_stands_beside_each_image(here, monkeypatch, n_faces):
    drawn = rows_drawn(monkeypatch)
    model, faces = small_vae(latent_dim=2).eval(), torch.rand(n_faces, 3, 64, 64)
    draw_attributes('cpu', model, {'A/b \u2603': torch.ones(2)}, faces, attribute='a/B \u2603')
    rows, columns = drawn[0]
    assert len(rows) == min(n_faces, attributes.N_ROWS)
    assert columns[0] == 'image' and len(columns) == len(rows[0][1]) == 10
    assert all(torch.equal(row[0], face) for (_, row), face in zip(rows, faces))
    assert [path.name for path in (here / 'work_dirs').glob('attributes*')] == [
        'attributes_A_b__.jpg']


def test_a_list_of_other_attributes_asks_to_choose_one(here):
    with pytest.raises(UserError, match='none of Eyeglasses.*--attribute, of Odd'):
        draw_attributes('cpu', small_vae().eval(), {'Odd': torch.ones(8)})


def test_bundled_weights_need_no_data(here, monkeypatch):
    drawn = rows_drawn(monkeypatch)
    for options in ([], ['--seed', '1'], ['--temperature', '0.5'], ['--prior', 'gaussian']):
        program.main(['attributes', *options])
    program.main(['attributes', '--attribute', 'smiling'])
    assert [[name for name, _ in rows] for rows, _ in drawn[:4]] == [
        list(attributes.SHOWN_ATTRIBUTES)] * 4
    first = [rows[0][1][2] for rows, _ in drawn[:4]]
    assert all(not torch.equal(first[0], other) for other in first[1:])
    assert len(drawn[4][0]) == attributes.N_ROWS and drawn[4][1][0] == '-2.0'
    assert not (here / 'data').exists()
    assert (here / 'work_dirs/attributes.jpg').exists()
    assert (here / 'work_dirs/attributes_Smiling.jpg').exists()


@pytest.mark.parametrize('size, mode', [((178, 218), 'L'), ((3000, 2000), 'RGB'), ((5, 9), 'RGBA')])
def test_my_own_picture_needs_no_list(here, monkeypatch, size, mode):
    drawn = rows_drawn(monkeypatch)
    make_image(1, size, mode).save('me.png')
    program.main(['attributes', '--attribute', 'Eyeglasses', '--data_root', 'me.png'])
    (rows, columns), = drawn
    assert len(rows) == 1 and columns[0] == 'image'
    program.main(['attributes', '--data_root', 'me.png'])
    assert len(drawn[1][1]) == 5                                     # one face, not two


def test_an_attribute_that_cannot_be_printed_is_refused_on_one_line(here, capsys):
    assert exit_status(lambda: program.main(['attributes', '--attribute', 'a\x1b[31m\nb'])) == 2
    error, = capsys.readouterr().err.splitlines()
    assert 'no direction is known of the attribute a\\x1b[31m\\nb; there are' in error


def test_weights_that_were_trained_here_keep_theirs_for_other_pictures(here, monkeypatch, capsys):
    """Those of their own training images: for a picture, and when these images are gone."""
    drawn = rows_drawn(monkeypatch)
    draw_sample_faces('data/sample_faces', n_faces=150)
    program.main(['train', '--n_epochs', '1', '--data_root', 'data/sample_faces', *SMALL])
    make_image(1).save('me.png')
    picture = ['attributes', '--attribute', 'Smiling', '--data_root', 'me.png']
    program.main(picture)                                            # read from the training images
    assert 'fitting to the codes' in capsys.readouterr().out
    kept = Path('dldemos/VAE/model.directions.pth').read_bytes()
    program.main(['attributes'])
    shutil.rmtree('data/sample_faces')
    program.main(picture)
    program.main(['attributes', '--attribute', 'Male'])
    assert 'fitting' not in capsys.readouterr().out
    assert Path('dldemos/VAE/model.directions.pth').read_bytes() == kept
    assert [columns[0] for _, columns in drawn] == ['image', '-2.0', 'image', '-2.0']


def test_weights_of_images_without_a_list_say_what_to_do(here, images):
    program.main(['train', '--n_epochs', '1', '--data_root', str(images), *SMALL])
    for options in ([], ['--data_root', str(images)], ['--attribute', 'Smiling']):
        with pytest.raises(UserError, match='no list_attr_celeba.txt.*--ckpt_path sharp'):
            program.main(['attributes', *options])
    Path(program.ckpt_path).with_suffix('.json').unlink()            # as of the article's script
    with pytest.raises(UserError, match='no list_attr_celeba.txt.*--ckpt_path sharp'):
        program.main(['attributes', '--data_root', str(images), *SMALL])
    load_or_fit('directions', program.ckpt_path, DIRECTIONS,
                   lambda: ({'Smiling': torch.randn(8)}, None))
    program.main(['attributes', '--data_root', str(images), *SMALL])
    assert Image.open('work_dirs/attributes.jpg').width > 300
