"""The page of explore, without a browser: what is in the file, and codes that come back from it."""
import base64
import json
import re

import numpy
import pytest
import torch
import torch.nn.functional as F
from conftest import REPOSITORY
from PIL import Image

from dldemos.VAE import main as program
from dldemos.VAE.latent.codes import CODES_FORMAT, read_codes
from dldemos.VAE.latent.page import by_information, explore, page
from dldemos.VAE.model import VAE
from dldemos.VAE.pretrained import directions, vae
from dldemos.VAE.support.errors import UserError
from dldemos.VAE.weights import save_weights

SIZES = [((16, 32, 64, 128, 256), 128, 64), ((8, 12), 2, 64), ((4, 8, 8), 1, 32),
         ((4, 4, 6, 8), 512, 128), ((5,), 3, 2)]


def trained_like(hiddens, latent_dim, image_size):
    """A model whose batch normalisation has seen something, as that of a trained one."""
    torch.manual_seed(0)
    model = VAE(hiddens, latent_dim, image_size)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.2, 3)
            torch.nn.init.uniform_(layer.weight, 0.5, 2)
            torch.nn.init.normal_(layer.bias)
    return model.eval()


def in_page(text):
    """What the page says of its model, and its layers, read as its script does."""
    model = json.loads(re.search(r'id="model">(.*?)</script>', text, re.S)[1])
    numbers = numpy.frombuffer(base64.b64decode(
        re.search(r'id="weights">(.*?)</script>', text, re.S)[1]), '<f2')
    layers, start = {}, 0
    for name, *sizes in model['layers']:
        layers[name] = []
        for n, scale in (sizes[:2], sizes[2:]):
            layers[name].append(scale * torch.from_numpy(numbers[start:start + n].astype('f4')))
            start += n
    assert start == len(numbers)
    return model, layers


def decoded(code, model, layers):
    """What these layers make of codes (N, latent_dim), by torch's functions: (N, 3, H, W)."""
    widths = model['hiddens'][::-1]
    side = model['image_size'] >> len(widths)
    weight, bias = layers['decoder_projection']
    x = (code @ weight.view(len(code[0]), -1) + bias).view(-1, side, side, widths[0])
    x = x.permute(0, 3, 1, 2)
    for i, width in enumerate(widths):
        weight, bias = layers[f'decoder.{i}']
        weight = weight.view(3, 3, width, -1).permute(2, 3, 0, 1)
        x = F.conv_transpose2d(x, weight, bias, 2, padding=1, output_padding=1).relu()
    weight, bias = layers[f'decoder.{i}.3']
    return F.conv2d(x, weight.view(3, 3, -1, 3).permute(3, 2, 0, 1), bias, padding=1).relu()


def encoded(images, model, layers):
    x = images
    for i in range(len(model['hiddens'])):
        weight, bias = layers[f'encoder.{i}']
        weight = weight.view(3, 3, x.shape[1], -1).permute(3, 2, 0, 1)
        x = F.conv2d(x, weight, bias, 2, padding=1).relu()
    x = x.permute(0, 2, 3, 1).flatten(1)
    return [x @ layers[name][0].view(x.shape[1], -1) + layers[name][1]
            for name in ('mean_linear', 'var_linear')]


@pytest.mark.parametrize('hiddens, latent_dim, image_size', SIZES)
@torch.no_grad()
def test_the_weights_in_it_are_those_of_the_model(hiddens, latent_dim, image_size):
    """Folded into convolutions, in 16 bits, and laid out otherwise."""
    model = trained_like(hiddens, latent_dim, image_size)
    told, layers = in_page(page(model, by_information('cpu', model)))
    assert sorted(told['order']) == list(range(latent_dim))
    code = torch.randn(4, latent_dim)
    faces = model.decode(code)
    scale = faces.abs().mean()
    assert (decoded(code, told, layers) - faces).abs().mean() < 2e-3 * scale
    images = torch.rand(4, 3, image_size, image_size)
    for ours, its in zip(encoded(images, told, layers), model.encode(images)):
        assert (ours - its).abs().mean() < 2e-3 * its.abs().mean()


def test_weights_too_large_for_16_bits_are_kept():
    model = trained_like((4, 8), 3, 16)
    with torch.no_grad():
        model.decoder_projection.weight *= 1e6
        code = torch.randn(2, 3)
        faces = model.decode(code)
    told, layers = in_page(page(model, [0, 1, 2]))
    assert torch.isfinite(layers['decoder_projection'][0]).all()
    torch.testing.assert_close(decoded(code, told, layers).detach(), faces, rtol=0.01,
                               atol=float(faces.abs().mean()) * 0.01)


def test_it_is_one_file_that_asks_for_nothing(here):
    path = explore('cpu', VAE((4, 8), 3, 16).eval())
    text = path.read_text(encoding='utf-8')
    assert path.as_posix() == 'work_dirs/explore.html'
    assert not re.search(r'_OF_THE_PAGE|<script src|<link rel="stylesheet"', text)
    assert set(re.findall(r'(?:src|href)="([^"]*)"', text)) == {'data:,'}
    assert not re.search(r'\bhttps?://|\bfetch\(|XMLHttpRequest|WebSocket|\bimport\(', text)
    for source in ('function transposedConvolution', 'prefers-color-scheme', 'class Photo'):
        assert source in text


def test_a_name_cannot_break_out_of_it():
    name = '</script><img src=x> & "quoted" \u2028 人脸'
    text = page(VAE((4,), 2, 4).eval(), [0, 1], {'name': name, 'directions': {
        '</Script>': torch.zeros(2)}})
    told, _ = in_page(text)
    assert told['name'] == name and told['directions'][0][0] == '</Script>'
    assert '<img' not in text


def test_the_most_telling_dimension_comes_first():
    """That which the encoder answers with a mean far from 0 and a small variance."""
    model = VAE((4,), 3, 8).eval()
    with torch.no_grad():
        for layer in (model.mean_linear, model.var_linear):
            layer.weight.zero_()
        model.mean_linear.bias.copy_(torch.tensor([0.0, 2.0, 0.0]))
        model.var_linear.bias.copy_(torch.tensor([0.0, -3.0, -1.0]))
    assert by_information('cpu', model) == [1, 2, 0]
    assert by_information('cpu', model, torch.rand(5, 3, 8, 8)) == [1, 2, 0]


def test_directions_with_a_name_get_sliders():
    model = VAE((4,), 2, 4).eval()
    several = {'Bald': torch.zeros(2), 'Smiling': torch.tensor([1.0, 0.5]),
               'Eyeglasses': torch.zeros(2)}
    told, _ = in_page(page(model, [0, 1], {'directions': several}))
    assert told['directions'] == [['Eyeglasses', [0, 0]], ['Smiling', [1, 0.5]]]
    others = {f'kind {i}': torch.zeros(2) for i in range(30)}
    told, _ = in_page(page(model, [0, 1], {'directions': others}))
    assert [name for name, _ in told['directions']] == list(others)[:12]
    assert in_page(page(model, [0, 1]))[0]['directions'] == []


def test_the_action_takes_the_weights_in_use(here, capsys):
    """The bundled ones, whose directions need no list; others without a manifest or a list."""
    program.main(['explore'])
    assert 'page: work_dirs/explore.html' in capsys.readouterr().out
    told, layers = in_page((here / 'work_dirs/explore.html').read_text(encoding='utf-8'))
    assert told['name'] == 'pretrained' and told['n_images'] == 7200
    assert dict(told['directions'])['Smiling'] == pytest.approx(
        directions('pretrained')['Smiling'].tolist(), abs=1e-5)
    with torch.no_grad():
        code = torch.randn(2, 128)
        assert (decoded(code, told, layers) - vae().decode(code)).abs().mean() < 2e-3
    assert not (here / 'data').exists()


def test_weights_of_a_folder_without_a_list_have_no_named_sliders(here, images, capsys):
    program.main(['train', 'explore', '--data_root', str(images), '--n_epochs', '1', '--hiddens',
                  '4,8', '--latent_dim', '2', '--ckpt_path', 'odd <name> 人.pth'])
    assert 'the page has no sliders of attributes: there is no list' in capsys.readouterr().out
    program.main(['explore', '--ckpt_path', 'odd <name> 人.pth'])
    told, _ = in_page((here / 'work_dirs/explore.html').read_text(encoding='utf-8'))
    assert told['name'] == 'odd <name> 人' and told['n_images'] == 9
    assert told['directions'] == [] and told['latent_dim'] == 2


def test_weights_that_nothing_is_known_of_need_no_images(here, capsys):
    """As those that the article's own script saved: none are drawn only for this."""
    save_weights('article.pth', VAE())
    program.main(['explore', '--ckpt_path', 'article.pth'])
    told, _ = in_page((here / 'work_dirs/explore.html').read_text(encoding='utf-8'))
    assert told['name'] == 'article' and told['n_images'] is None and told['directions'] == []
    assert not (here / 'data').exists()


def test_the_page_in_docs_is_made_of_these_weights_and_sources(here):
    """`python benchmarks/bundled.py page` makes it anew."""
    program.main(['explore', '--ckpt_path', 'sharp'])
    made = (here / 'work_dirs/explore.html').read_text(encoding='utf-8')
    shipped = (REPOSITORY / 'docs/index.html').read_text(encoding='utf-8')
    numbers = re.compile(r'id="(?:model|weights)">.*?</script>', re.S)    # rounding may differ
    assert numbers.sub('', made) == numbers.sub('', shipped)
    (model, layers), (expected, expected_layers) = in_page(made), in_page(shipped)
    assert model['order'][:5] == expected['order'][:5]
    for about in (model, expected):
        del about['order'], about['layers']
    assert model == expected
    for name, tensors in expected_layers.items():
        for found, tensor in zip(layers[name], tensors):
            torch.testing.assert_close(found, tensor, atol=6e-4 * tensor.abs().max().item(),
                                       rtol=0)


# ---- generate --code ----

def write_codes(path, codes, **changes):
    path.write_text(json.dumps({'format': CODES_FORMAT, 'weights': '', 'codes': codes, **changes}))
    return path


@torch.no_grad()
def test_codes_of_a_file_are_drawn(here, capsys):
    torch.manual_seed(1)
    codes = torch.randn(2, 128)
    write_codes(here / 'code.json', codes.tolist())
    program.main(['generate', '--code', 'code.json', '--save_images', 'faces'])
    assert 'other weights' not in capsys.readouterr().out
    assert (here / 'work_dirs/generate_code.jpg').exists()
    assert not (here / 'work_dirs/generate.jpg').exists()
    for i, face in enumerate(vae().decode(codes).clamp(0, 1), 1):
        drawn = numpy.asarray(Image.open(here / f'faces/{i:06}.png')) / 255
        assert numpy.abs(drawn - face.permute(1, 2, 0).numpy()).max() < 1.01 / 255


def test_what_a_file_of_codes_leaves_nothing_to_decide_is_told(here, capsys):
    write_codes(here / 'code.json', [[0.0] * 128])
    program.main(['generate', '--code', 'code.json', '--prior', 'flow', '--n_samples', '3'])
    assert 'ignored, the codes being those of a file: n_samples, prior' in (
        capsys.readouterr().out)
    program.main(['generate', '--code', 'code.json'])
    assert 'ignored, the codes' not in capsys.readouterr().out


def test_codes_of_other_weights_are_told_so(tmp_path, capsys):
    path = write_codes(tmp_path / 'a.json', [[0.5, 1]], weights='abcdef')
    assert read_codes(path, 2, 'abcdef0123456789').tolist() == [[0.5, 1]]
    assert capsys.readouterr().out == ''
    read_codes(path, 2, '0123456789abcdef')
    assert 'were saved of other weights: expect other faces' in capsys.readouterr().out


def test_codes_that_an_editor_saved_with_a_byte_order_mark(tmp_path):
    path = write_codes(tmp_path / 'a.json', [[0.5, 1]])
    path.write_text(path.read_text(), encoding='utf-8-sig')
    assert read_codes(path, 2).tolist() == [[0.5, 1]]


@pytest.mark.parametrize('text, said', [
    ('no json', 'is no JSON'), ('\xff', 'is no JSON'), ('[[1, 2]]', 'holds no codes'),
    ('{"codes": [[1, 2]]}', 'holds no codes')])
def test_a_file_without_codes_is_refused(tmp_path, text, said):
    (tmp_path / 'a.json').write_bytes(text.encode('latin-1'))
    with pytest.raises(UserError, match=said):
        read_codes(tmp_path / 'a.json', 2)


@pytest.mark.parametrize('codes, said', [
    ([[1, 2, 3]], 'have 3 numbers, and those of these weights 2'),
    ([], 'list of codes'), ([[]], 'list of codes'), ([1, 2], 'list of codes'),
    ([[1, 2], [1]], 'list of codes'), ([[1, True]], 'list of codes'), ({'a': 1}, 'list of codes'),
    ([['1', '2']], 'list of codes'), ([[1, float('nan')]], 'finite'), ([[1, 1e39]], 'finite'),
    ([[1, 10**400]], 'finite'), (None, 'list of codes')])
def test_codes_that_fit_no_model_are_refused(tmp_path, codes, said):
    with pytest.raises(UserError, match=said):
        read_codes(write_codes(tmp_path / 'a.json', codes), 2)


def test_no_file_of_codes(here):
    save_weights(program.ckpt_path, VAE())
    with pytest.raises(UserError, match='there is no file nowhere.json: give --code'):
        program.main(['generate', '--code', 'nowhere.json'])
