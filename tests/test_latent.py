import os
import tracemalloc
from functools import partial

import pytest
import torch
from conftest import small_vae
from PIL import Image

from dldemos.VAE import main as program
from dldemos.VAE.latent import priors, walks
from dldemos.VAE.latent.attributes import read_attributes
from dldemos.VAE.latent.elbo import kl_per_dimension
from dldemos.VAE.latent.walks import lerp, normal_codes, random_loop, slerp
from dldemos.VAE.pretrained.sample_faces import draw_sample_faces
from dldemos.VAE.support.errors import UserError


def test_slerp_keeps_ends_and_norms():
    torch.manual_seed(0)
    a, b = torch.randn(2, 128)
    codes = slerp(a, b / b.norm() * a.norm(), 9)
    torch.testing.assert_close(codes[0], a)
    torch.testing.assert_close(codes[-1], b / b.norm() * a.norm())
    torch.testing.assert_close(codes.norm(dim=1), a.norm().expand(9))
    steps = (codes[1:] - codes[:-1]).norm(dim=1)
    torch.testing.assert_close(steps, steps[0].expand(8))
    assert lerp(a, b, 9)[4].norm() < 0.9 * a.norm()


def test_slerp_without_an_angle_is_a_straight_line():
    """Equal and opposite codes, and those of --temperature 0, which have no length."""
    zero, a = torch.zeros(16), torch.randn(16, generator=torch.Generator().manual_seed(0))
    for start, end in ((a, a), (a, -a), (zero, zero), (zero, a)):
        codes = slerp(start, end, 5)
        assert codes.isfinite().all()
        torch.testing.assert_close(codes, lerp(start, end, 5))


def test_kl_per_dimension_adds_up_to_the_kl():
    torch.manual_seed(0)
    mean, logvar = torch.randn(2, 50, 128)
    image = torch.zeros(1, 3, 64, 64)
    _, _, kl = program.loss_fn(image, image, mean, logvar, return_terms=True)
    torch.testing.assert_close(kl_per_dimension(mean, logvar).sum(1).mean(), kl)
    assert kl_per_dimension(torch.zeros(3, 4), torch.zeros(3, 4)).abs().max() == 0


def test_a_random_loop_closes():
    codes = random_loop(partial(normal_codes, 8), 'cpu', n_faces=3, n_keys=4, n_steps=5)
    assert codes.shape == (20, 3, 8)
    steps = (codes.roll(-1, 0) - codes).norm(dim=2)
    assert steps.max() < 4                              # no jump, not even at the end


LIST = '''3
Bald Eyeglasses Smiling
000001.jpg -1  1 -1
000002.jpg  1 -1 -1
000003.jpg -1 -1  1
'''


def test_attributes_that_are_not_known_are_refused(tmp_path):
    (tmp_path / 'images').mkdir()
    with pytest.raises(UserError, match='no list_attr_celeba.txt'):
        read_attributes(tmp_path / 'images', ['000001.jpg'])
    (tmp_path / 'list_attr_celeba.txt').write_text(LIST)
    with pytest.raises(UserError, match='no line for 000009.jpg'):
        read_attributes(tmp_path / 'images', ['000009.jpg'])


def test_a_list_with_blank_lines_is_read(tmp_path):
    (tmp_path / 'list_attr_celeba.txt').write_text('\n' + LIST.replace('\n', '\n\n') + '  \n')
    found = read_attributes(tmp_path, ['000002.jpg'])
    assert {name: values.tolist() for name, values in found.items()} == {
        'Bald': [True], 'Eyeglasses': [False], 'Smiling': [False]}


def test_a_long_list_takes_little_memory(tmp_path):
    """A line of it is 120 bytes of text; 202,599 of them were 600 MB as lists of words."""
    n, header = 5000, [f'A{i}' for i in range(40)]
    lines = [f'{i:06}.jpg ' + ' '.join('1' if (i + j) % 3 else '-1' for j in range(40))
             for i in range(n)]
    (tmp_path / 'list_attr_celeba.txt').write_text('\n'.join([str(n), ' '.join(header), *lines]))
    del lines
    names = [f'{i:06}.jpg' for i in range(n)]
    tracemalloc.start()
    try:
        found = read_attributes(tmp_path, names)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 500 * n
    assert all(found[f'A{j}'].tolist() == [(i + j) % 3 > 0 for i in range(n)] for j in (0, 1, 39))


@pytest.mark.parametrize('text, line', [
    ('', ''), ('3\n', ''), ('1\nA B\n000001.jpg 1\n', ', line 3,'),
    (LIST.replace('000002.jpg  1 -1 -1', '000002.jpg  1 -1'), ', line 4,'),
    (LIST.replace('000002.jpg  1 -1 -1', '000002.jpg  1 -1 -1 1'), ', line 4,'),
    (LIST.replace('000002.jpg  1', '000002.jpg  yes'), ', line 4,'),
    (LIST.replace('000003.jpg -1 -1  1', '000003.jpg'), ', line 5,')])
def test_a_ragged_list_is_refused_in_a_sentence(tmp_path, text, line):
    (tmp_path / 'list_attr_celeba.txt').write_text(text)
    with pytest.raises(UserError, match=f'celeba.txt{line} is not laid out as'):
        read_attributes(tmp_path, ['000001.jpg'])


def test_images_stand_beside_the_decoded_ends(here, monkeypatch, capsys):
    drawn = []
    rows_of = walks.labelled_rows
    monkeypatch.setattr(walks, 'labelled_rows', lambda rows, columns: drawn.append(rows) or
                        rows_of(rows, columns))
    images = torch.rand(3, 3, 64, 64)
    walks.interpolate('cpu', small_vae().eval(), images, n_rows=2, n_steps=4)
    assert 'a walk needs two faces, and there are 3' in capsys.readouterr().out
    (label, faces), *random_walks = drawn[0]
    assert label == 'two faces' and len(random_walks) == 2
    assert torch.equal(faces[[0, -1]], images[:2])
    assert len(faces) == 6
    walks.interpolate('cpu', small_vae().eval(), images[:1], n_rows=2, n_steps=4)
    assert 'there is 1: the last one is left out' in capsys.readouterr().out
    assert [label for label, _ in drawn[1]] == ['two random codes'] * 2


def test_traverse_takes_the_dimensions_with_most_information(here, monkeypatch):
    model = small_vae().eval()
    drawn = {}
    monkeypatch.setattr(walks, 'labelled_rows', lambda rows, columns: drawn.update(rows=rows) or
                        Image.new('RGB', (8, 8)))
    images = torch.rand(20, 3, 64, 64)
    walks.traverse('cpu', model, images, n_dimensions=3, n_steps=5)
    kl = kl_per_dimension(*model.encode(images)).mean(0)
    best = kl.argsort(descending=True)[:3].tolist()
    assert [label.split(':')[0] for label, _ in drawn['rows']] == [f'dimension {d}' for d in best]
    code = model.encode(images)[0][0].clone()
    code[best[0]] = -3
    torch.testing.assert_close(drawn['rows'][0][1][0], model.decode(code.unsqueeze(0))[0],
                               atol=1e-5, rtol=1e-4)


def test_each_walk_writes_its_own_pictures(here, capsys, monkeypatch):
    monkeypatch.setattr(priors, 'fit_flow', partial(priors.fit_flow, n_steps=5))
    draw_sample_faces('data/sample_faces', n_faces=120)
    options = ['--data_root', 'data/sample_faces', '--hiddens', '4,8,8,8,8', '--latent_dim', '8']
    program.main(['train', 'generate', '--n_epochs', '1', *options])
    before = {name: (here / 'work_dirs' / name).read_bytes()
              for name in os.listdir('work_dirs')
              if name.endswith(('.csv', '.pth', 'generate.jpg'))}
    program.main(['interpolate', 'traverse', 'attributes', 'evaluate', *options])
    output = capsys.readouterr().out
    with Image.open('work_dirs/interpolate.gif') as animation:
        assert animation.n_frames == 48
        assert animation.info['loop'] == 0
    for name in ('interpolate.jpg', 'traverse.jpg', 'attributes.jpg'):
        assert Image.open(f'work_dirs/{name}').width > 600
    assert all((here / 'work_dirs' / name).read_bytes() == content
               for name, content in before.items())
    assert output.count('fitting to') == 1
    for line in ('MSE, code sampled', 'active units of 8', 'samples of flow'):
        assert line in output

    fitted = here / 'dldemos/VAE/model.prior.pth'
    made = fitted.stat().st_mtime_ns
    program.main(['generate', '--prior', 'flow', *options])
    assert (here / 'work_dirs/generate_flow.jpg').exists()
    assert fitted.stat().st_mtime_ns == made                # the weights have not changed
    drawn = (here / 'work_dirs/generate_flow.jpg').read_bytes()
    fitted.unlink()
    program.main(['generate', '--prior', 'flow', *options])
    assert (here / 'work_dirs/generate_flow.jpg').read_bytes() == drawn   # fitted anew, the same
