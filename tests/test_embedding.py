"""Distances between sets of faces in an embedding: closed forms, and sets made by hand."""
import math

import pytest
import torch
from torch.nn import functional as F

from dldemos.VAE.latent import embedding
from dldemos.VAE.latent.embedding import (
    EMBEDDING,
    N_FEATURES,
    bundled_embedding,
    embed,
    frechet_distance,
    precision_and_recall,
)
from dldemos.VAE.support.errors import UserError


def normal(n, mean, scale, seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(n, len(mean), generator=generator, dtype=torch.float64)
    return torch.tensor(mean) + points @ torch.as_tensor(scale, dtype=torch.float64)


def test_the_frechet_distance_of_gaussians_that_do_not_turn():
    """|mean - mean|^2 + the squared differences of the standard deviations, of each axis."""
    a = normal(200_000, [0.0, 0.0, 0.0], torch.diag(torch.tensor([1.0, 2.0, 3.0])))
    b = normal(200_000, [1.0, 0.0, -2.0], torch.diag(torch.tensor([2.0, 2.0, 0.5])), seed=1)
    assert frechet_distance(a, b) == pytest.approx(1 + 4 + 1 + 0 + 2.5**2, rel=0.01)


def test_the_frechet_distance_of_turned_gaussians():
    """With a square root of the product that scipy would take: by hand, for two axes."""
    angle = math.pi / 6
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    a = normal(50_000, [0.0, 0.0], torch.diag(torch.tensor([1.0, 3.0])))
    b = normal(50_000, [0.0, 0.0], torch.diag(torch.tensor([1.0, 3.0])) @ turn, seed=1)
    product = torch.cov(a.T) @ torch.cov(b.T)
    root_trace = (product.trace() + 2 * product.det().sqrt()).sqrt()      # of a 2 x 2 matrix
    expected = torch.cov(a.T).trace() + torch.cov(b.T).trace() - 2 * root_trace
    assert frechet_distance(a, b) == pytest.approx(expected.item(), abs=1e-3)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))


def test_fewer_faces_than_dimensions_have_a_distance_too():
    a, b = torch.randn(2, 5, N_FEATURES)
    assert 0 < frechet_distance(a, b) < math.inf
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-4)


def test_a_single_face_or_one_that_is_none_has_no_distance():
    faces = torch.randn(9, 4)
    for others in (faces[:1], faces[:0], torch.full((9, 4), math.nan)):
        assert math.isnan(frechet_distance(faces, others))
        assert math.isnan(frechet_distance(others, faces))
        assert precision_and_recall(faces, others) is precision_and_recall(others, faces) is None


def test_precision_and_recall():
    real = normal(600, [0.0, 0.0], torch.eye(2))
    like_them = normal(600, [0.0, 0.0], torch.eye(2), seed=1)
    precision, recall = precision_and_recall(real, like_them)
    assert precision > 0.9 and recall > 0.9
    few_kinds = normal(600, [0.0, 0.0], 0.1 * torch.eye(2), seed=1)
    precision, recall = precision_and_recall(real, few_kinds)
    assert precision > 0.95 and recall < 0.1
    far = normal(600, [50.0, 0.0], torch.eye(2))
    assert precision_and_recall(real, far) == (0, 0)
    half_broken = torch.cat([like_them[:300], far[:300]])
    precision, recall = precision_and_recall(real, half_broken)
    assert precision == pytest.approx(0.5, abs=0.06) and recall > 0.8
    assert precision_and_recall(real[:3], far) is None


@pytest.mark.parametrize('shape', [(2, 3, 64, 64), (1, 3, 128, 128), (3, 3, 16, 16),
                                   (2, 3, 32, 64)])
def test_images_of_any_size_have_an_embedding(shape):
    images = torch.rand(shape)
    embedding = embed(images)
    assert embedding.shape == (len(images), N_FEATURES)
    torch.testing.assert_close(embed(images.double()), embedding)
    torch.testing.assert_close(embed(images + 0.0 * images), embed(images))
    torch.testing.assert_close(embed(1e3 * (images - 0.5)), embed((images > 0.5).float()),
                               atol=0.5, rtol=1)             # clamped
    assert not embedding.requires_grad


def test_a_size_in_between_hardly_changes_it():
    images = F.interpolate(torch.rand(8, 3, 6, 6), size=64, mode='bicubic').clamp(0, 1)
    larger = F.interpolate(images, size=128, mode='bilinear')
    apart = (embed(images)[:4] - embed(images)[4:]).norm(dim=1).mean()
    assert (embed(images) - embed(larger)).norm(dim=1).mean() < 0.2 * apart


@pytest.fixture
def unread():
    """The network as if it was never asked for, before and after."""
    bundled_embedding.cache_clear()
    yield
    bundled_embedding.cache_clear()


@pytest.mark.parametrize('content', [None, b'', b'PK\x03\x04', EMBEDDING.read_bytes()[:9000],
                                     EMBEDDING.with_name('pretrained.pth').read_bytes()])
def test_a_network_that_is_damaged_is_refused_in_a_sentence(tmp_path, monkeypatch, unread, content):
    path = tmp_path / 'embedding.pth'
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(embedding, 'EMBEDDING', path)
    with pytest.raises(UserError, match='embedding.pth is missing or damaged'):
        embed(torch.zeros(1, 3, 64, 64))


def test_it_is_the_same_where_numbers_are_of_double_precision(unread):
    images = torch.rand(2, 3, 64, 64)
    expected = embed(images)
    bundled_embedding.cache_clear()
    torch.set_default_dtype(torch.float64)
    try:
        torch.testing.assert_close(embed(images), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_reading_it_takes_no_random_numbers(unread):
    """Or the first evaluation of a process would differ from the second."""
    torch.manual_seed(0)
    embed(torch.zeros(1, 3, 64, 64))
    first = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), first)
