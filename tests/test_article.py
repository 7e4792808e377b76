import math
import os
import re
from functools import partial

import pytest
import torch

from dldemos.VAE import article
from dldemos.VAE import main as program
from dldemos.VAE.article import Autoencoder
from dldemos.VAE.model import VAE
from dldemos.VAE.pretrained.sample_faces import draw_sample_faces
from dldemos.VAE.support.errors import UserError, exit_status


@pytest.fixture
def small(monkeypatch):
    """Few steps."""
    for name, value in {'FEW_STEPS': 3, 'SWEEP_STEPS': 2, 'NAN_STEPS': 2}.items():
        monkeypatch.setattr(article, name, value)


@pytest.fixture
def faces():
    """Noise of different brightness, so that the mean image is far from each."""
    brightness = torch.linspace(0.1, 0.9, 24).view(-1, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    return brightness + 0.05 * torch.rand(24, 3, 64, 64, generator=generator)


class Remembers:
    """In place of a model: an image's code is its pixels, darker by a factor.

    What is decoded is spoilt by so much where it is brighter than 0.5.
    """

    latent_dim = 3 * 64 * 64

    def __init__(self, factor=1.0, spoilt=0.0):
        self.factor, self.spoilt = factor, spoilt

    def encode(self, images):
        codes = self.factor * images.flatten(1)
        return codes, torch.zeros_like(codes)

    def reparameterize(self, mean, logvar):
        return mean + torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))

    def decode(self, code):
        images = code.view(-1, 3, 64, 64)
        return images - self.spoilt * (images > 0.5)


def comparisons(models, training, held_out):
    """The sections of the report that compare an autoencoder and a VAE."""
    doubt = article.not_learned(models, training)
    return [article.overfitting(models, training, held_out, doubt),
            article.between(models, held_out, doubt),
            article.random_codes(models, held_out, doubt),
            article.spread(models, training, doubt)]


def test_a_hundred_and_twenty_images_make_a_report(here, small, capsys):
    draw_sample_faces('data/faces', n_faces=122)
    capsys.readouterr()
    article.main(['--data_root', 'data/faces', '--n_images', '120'])
    report = (here / 'work_dirs/article/report.md').read_text()
    assert 'Images: 120 of data/faces.' in report
    assert 'same 90 images for 3 steps' in report
    assert report.count('\n## ') == 6
    pictures = re.findall(r'\]\((\w+\.jpg)\)', report)
    assert len(pictures) == 6
    assert all((here / 'work_dirs/article' / picture).exists() for picture in pictures)
    verdicts = re.findall(r'^(Borne out\.|NOT borne out by this run\.|Not decided: )', report, re.M)
    assert len(verdicts) == 6
    assert verdicts[:5] == ['Not decided: '] * 5      # three steps teach nothing
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'images: data/faces, 120 of 64 x 64, crop the largest square'
    assert [line[:5] for line in lines[1:-1]] == [f'{i}/7  ' for i in range(1, 8)]
    assert lines[1] == '1/7  autoencoder and VAE on 90 images ...'
    assert lines[-1] == 'report: work_dirs/article/report.md'


def test_too_few_images_are_refused_in_a_sentence(here, images, capsys):
    assert exit_status(lambda: article.main(['--data_root', str(images)])) == 2
    message = capsys.readouterr().err
    assert message.count('\n') == 1
    assert f'at least {article.LEAST_IMAGES} images' in message
    assert 'not 10' in message


def test_too_small_an_n_images_is_refused_before_anything_is_decoded(here, images):
    with pytest.raises(UserError, match=f'at least {article.LEAST_IMAGES} images.*not 79'):
        article.main(['--data_root', str(images), '--n_images', '79'])
    assert not list(here.glob('*.cache'))


def test_options_are_explained_as_in_main_and_checked(here, capsys):
    with pytest.raises(SystemExit):
        article.main(['--help'])
    text = ' '.join(capsys.readouterr().out.split())
    for option in ('data_root', 'n_images'):
        assert article.read_settings(program.__file__, vars(program))[option] in text
    with pytest.raises(UserError, match='n_images must be a whole number'):
        article.main(['--n_images', 'many'])
    with pytest.raises(UserError, match='no option --images'):
        article.main(['--images', '100'])


@pytest.mark.parametrize('n, few, more, held_out', [
    (1300, 100, 1000, 300), (1240, 100, 940, 300), (340, 100, 255, 85), (120, 90, 90, 30),
    (article.LEAST_IMAGES, 60, 60, 20)])
def test_images_are_parted_into_training_and_held_out(n, few, more, held_out):
    images = torch.arange(n)
    parts = article.parted(images)
    assert [len(part) for part in parts] == [few, more, held_out]
    assert torch.equal(parts[0], images[:few])
    assert not set(parts[1].tolist()) & set(parts[2].tolist())


@pytest.mark.parametrize('n_images, sizes', [
    (100, {20}), (1000, {20}), (90, {18}), (41, {13, 14}), (21, {10, 11}), (12, {12})])
def test_batches_pass_over_all_images_again_and_again(n_images, sizes):
    in_a_pass = math.ceil(n_images / article.BATCH_SIZE)
    parts = list(article.shuffled(n_images, 2 * in_a_pass + 1))
    assert len(parts) == 2 * in_a_pass + 1
    assert {len(part) for part in parts} == sizes
    first, second = torch.cat(parts[:in_a_pass]), torch.cat(parts[in_a_pass:-1])
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(n_images))
    assert not torch.equal(first, second)


def test_autoencoder_and_vae_start_from_the_same_weights(small, faces):
    starts = []

    def recorded(kind):
        model = kind()
        starts.append({name: value.clone() for name, value in model.state_dict().items()})
        return model
    article.trained(faces, 2, 0.0, 'AE', partial(recorded, Autoencoder))
    torch.rand(5)
    article.trained(faces, 2, 0.00025, 'VAE', partial(recorded, VAE))
    assert all(torch.equal(value, starts[1][name]) for name, value in starts[0].items())


def test_an_autoencoder_takes_no_noise(small, faces):
    torch.manual_seed(0)
    start = article.VAE().var_linear.weight
    autoencoder = article.trained(faces, 2, 0.0, 'AE', Autoencoder)
    assert torch.equal(autoencoder.var_linear.weight, start)
    vae = article.trained(faces, 2, 0.00025, 'VAE')
    assert not torch.equal(vae.var_linear.weight, start)


def test_a_verdict_follows_the_metrics():
    assert article.verdict(True, [1.0]) == 'Borne out.'
    assert article.verdict(False, [1.0]) == 'NOT borne out by this run.'
    for unknown in (math.nan, math.inf):
        assert article.verdict(True, [1.0, unknown]).startswith('Not decided: ')
    assert article.verdict(True, [1.0], 'no model learned.') == 'Not decided: no model learned.'


def test_what_is_no_better_than_the_mean_image_has_not_learned(faces):
    baseline = f'{faces.var(0, unbiased=False).mean():.4f}'
    assert article.not_learned({'AE': Remembers()}, faces) is None
    for factor in (0.0, 0.5, math.nan):
        doubt = article.not_learned({'AE': Remembers(), 'VAE': Remembers(factor)}, faces)
        reached = f'{article.error(Remembers(factor), faces):.4f}'
        assert f'VAE {reached}, their mean image {baseline}' in doubt


def test_claims_are_borne_out_by_models_that_do_as_they_say(here, faces):
    models = {'AE': Remembers(0.9, spoilt=0.3), 'VAE': Remembers(0.9)}
    dark, bright = faces[:12], faces[12:]
    assert '\nBorne out.' in comparisons(models, dark, bright)[0]
    models = {'AE': models['VAE'], 'VAE': models['AE']}
    assert '\nNOT borne out by this run.' in comparisons(models, dark, bright)[0]


@pytest.mark.filterwarnings('ignore:invalid value encountered in cast')     # NaN as a pixel
@pytest.mark.parametrize('weight', [0.0, math.nan])
def test_black_squares_decide_nothing(here, small, faces, weight):
    broken = article.VAE().eval()
    with torch.no_grad():
        for parameter in broken.parameters():
            parameter.fill_(weight)
    assert not (article.reconstructed(broken, faces) > 0).any()
    for models in ({'AE': broken, 'VAE': Remembers()}, {'AE': Remembers(), 'VAE': broken}):
        for section in comparisons(models, faces[:12], faces[12:]):
            assert '\nNot decided: a model did not learn' in section
            assert not re.search('borne out', section, re.IGNORECASE)


def test_black_images_decide_nothing(here):
    black = torch.zeros(12, 3, 64, 64)
    models = {'AE': Remembers(), 'VAE': Remembers()}
    assert all('\nNot decided: ' in section for section in comparisons(models, black, black))


def sweep_of(monkeypatch, faces, *factors):
    """The sweep's section at 0.004 for main.py's kl_weight, with a factor for each model."""
    models = map(Remembers, factors)
    weights = []
    monkeypatch.setattr(article, 'trained', lambda images, n_steps, kl_weight, name:
                        weights.append(kl_weight) or next(models))
    section = article.sweep(faces, faces[:12], 0.004)
    assert weights == pytest.approx([0, 0.0004, 0.004, 0.04, 0.4])
    return section


def test_the_sweep_takes_multiples_of_the_kl_weight(here, monkeypatch, faces):
    section = sweep_of(monkeypatch, faces, 1.0, 0.98, 0.95, 0.8, 0.75)
    shown = re.findall(r'^\| ([\d.e-]*\d) \|', section, re.M)
    assert shown == ['0', '0.0004', '0.004', '0.04', '0.4']
    assert '\nBorne out.' in section
    assert '\nNOT borne out' in sweep_of(monkeypatch, faces, 1.0, 0.9, 0.92, 0.8, 0.75)


def test_the_sweep_decides_nothing_where_a_model_is_black(here, monkeypatch, faces):
    section = sweep_of(monkeypatch, faces, 1.0, 0.98, 0.2, 0.1, 0.05)
    assert re.search(r'\nNot decided: .*error: kl_weight 0\.004 ', section)
    section = sweep_of(monkeypatch, faces, 1.0, 0.98, 0.95, 0.8, 0.0)
    assert re.search(r'\nNot decided: .*error: kl_weight 0\.4 ', section)


def test_the_kl_weight_is_that_of_main(monkeypatch):
    assert article.main_kl_weight() == 0.00025
    monkeypatch.setattr(program, 'kl_weight', 2)
    assert article.main_kl_weight() == 2
    for value in ('auto', 0, -1, math.inf):
        monkeypatch.setattr(program, 'kl_weight', value)
        with pytest.raises(UserError, match='the report needs a number above 0'):
            article.main_kl_weight()


def test_any_name_of_a_folder_can_be_reported(here, images, monkeypatch, capsys):
    name = 'faces\n' + os.fsdecode(b'caf\xe9')
    try:
        images.rename(here / name)
    except OSError:
        pytest.skip('the file system takes only UTF-8 names')
    monkeypatch.setattr(article, 'LEAST_IMAGES', 10)
    monkeypatch.setattr(article, 'sections_of', lambda images, kl_weight: ['## a section'])
    article.main(['--data_root', name])
    report = (here / 'work_dirs/article/report.md').read_text(encoding='utf-8')
    assert 'Images: 10 of faces\\ncaf\\udce9.\n' in report
    capsys.readouterr().out.encode('ascii')


def test_predicting_the_variance_itself_meets_nan():
    images = torch.rand(20, 3, 64, 64)
    assert article.first_nan(images, lambda raw: raw, n_steps=3, kl_weight=0.00025) == 1
    assert article.first_nan(images, torch.exp, n_steps=3, kl_weight=0.00025) is None
