import re

import pytest
import torch

from dldemos.VAE import article
from dldemos.VAE.images.synthetic import draw_sample_faces


@pytest.fixture
def small(monkeypatch):
    for name, value in {'N_FEW': 40, 'N_MORE': 60, 'N_HELD_OUT': 40, 'FEW_EPOCHS': 2,
                        'SWEEP_EPOCHS': 1, 'NAN_STEPS': 3, 'SWEEP': (0.0, 0.00025, 0.025)}.items():
        monkeypatch.setattr(article, name, value)


def test_the_report_is_made_of_what_was_seen(here, small, capsys):
    draw_sample_faces('data/sample_faces', n_faces=100)
    article.main([])
    report = (here / 'work_dirs/article/report.md').read_text()
    assert report.count('\n## ') == 6
    for picture in re.findall(r'\]\((\w+\.jpg)\)', report):
        assert (here / 'work_dirs/article' / picture).exists()
    assert len(re.findall(r'\.jpg\)', report)) == 6
    assert report.count('Borne out.') + report.count('NOT borne out') == 6
    assert '| 0.025 |' in report


def test_a_verdict_follows_the_figures():
    assert article.verdict(True) == 'Borne out.'
    assert article.verdict(False).startswith('NOT')


def test_predicting_the_variance_itself_meets_nan():
    images = torch.rand(20, 3, 64, 64)
    assert article.first_nan(images, lambda raw: raw, n_steps=3) == 1
    assert article.first_nan(images, torch.exp, n_steps=3) is None


def test_an_autoencoder_takes_no_noise():
    images = torch.rand(20, 3, 64, 64)
    model = article.VAE(hiddens=(4, 8), latent_dim=4)
    before = model.var_linear.weight.clone()
    article.fit(model, images, 1, 0.0, 'AE', noise=False)
    assert torch.equal(model.var_linear.weight, before)
