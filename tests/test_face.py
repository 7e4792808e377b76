"""--crop face. No photograph of a face may lie here: tests look at drawn boxes and at faces that
the program draws itself, those on real faces skip where there are none."""
import sys
import tarfile

import numpy as np
import pytest
from conftest import REPOSITORY, cached, load, make_image
from PIL import Image, ImageDraw

from dldemos.VAE.images import cache, face
from dldemos.VAE.support.errors import UserError

REAL = REPOSITORY.parent / 'shared/celeba/img_half.tar'


@pytest.fixture
def cv2():
    cv2 = pytest.importorskip('cv2')
    if not hasattr(cv2, 'CascadeClassifier'):
        pytest.skip('an OpenCV without these detectors')
    return cv2


def dots(at, size):
    """A picture of a red and a green dot at two places."""
    image = Image.new('RGB', size, 'white')
    for (x, y), colour in zip(at, ('red', 'lime')):
        ImageDraw.Draw(image).ellipse((x - 25, y - 25, x + 25, y + 25), fill=colour)
    return image


@pytest.mark.parametrize('points, size', [([(400, 500), (700, 500)], (1200, 1600)),
                                          ([(700, 900), (850, 700)], (1500, 1500)),
                                          ([(300, 700), (600, 850)], (3000, 2000))])
def test_two_points_come_to_lie_where_celebas_eyes_do(cv2, points, size):
    image = np.asarray(face.aligned(dots(points, size), np.array(points), face.EYES)).astype(int)
    assert image.shape == (218, 178, 3)
    red = (image[..., 0] > 200) & (image[..., 1] < 60)
    green = (image[..., 1] > 200) & (image[..., 0] < 60)
    for dot, (x, y) in zip((red, green), face.EYES):
        rows, columns = np.nonzero(dot)
        assert abs(columns.mean() - x) < 1 and abs(rows.mean() - y) < 1


def test_the_largest_face_and_its_eyes_decide(cv2, monkeypatch):
    def detect(name, pixels, least):
        if name == 'eye':
            return np.array([[40, 80, 40, 40], [150, 80, 40, 40], [100, 10, 30, 30]])
        return np.array([[10, 10, 30, 30], [60, 80, 120, 120]])

    monkeypatch.setattr(face, 'detect', detect)
    seen = []
    monkeypatch.setattr(face, 'aligned', lambda image, points, to: seen.append((points, to)))
    face.celeba_like(Image.new('RGB', (1280, 1280)))                 # looked at in half its size
    (points, to), = seen
    assert to is face.EYES
    assert points.tolist() == [[120 + 60, 160 + 100], [120 + 170, 160 + 100]]


def test_a_picture_without_a_face_is_unreadable(cv2, tmp_path, monkeypatch, capsys):
    (tmp_path / 'mine').mkdir()
    for i in range(2):
        make_image(i).save(tmp_path / 'mine' / f'{i}.png')
    with pytest.raises(UserError, match='0.png .no face is found in it'):
        cached(tmp_path / 'mine', crop='face')


@pytest.mark.parametrize('gone', ['cv2', 'detector'])
def test_opencv_is_asked_for_in_a_sentence(images, monkeypatch, gone):
    if gone == 'cv2':
        monkeypatch.setitem(sys.modules, 'cv2', None)
    else:
        cv2 = pytest.importorskip('cv2')
        monkeypatch.setattr(cv2.data, 'haarcascades', 'nowhere')
    with pytest.raises(UserError, match='pip install "opencv-python-headless<5"') as error:
        cached(images, crop='face')
    assert '--crop auto' in str(error.value)


@pytest.mark.skipif(not REAL.exists(), reason='no real faces here')
def test_a_photograph_gives_its_face_where_celeba_has_it(cv2, tmp_path, monkeypatch):
    """Real faces, enlarged and turned in a larger picture: the crop is near CelebA's own."""
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'faces').mkdir()
    with tarfile.open(REAL) as archive:
        members = [archive.next() for _ in range(20)]
        members = [member for member in members if member.name.endswith('.jpg')][:12]
        for member in members:
            image = Image.open(archive.extractfile(member)).convert('RGB').resize((178, 218))
            name = member.name.rsplit('/', 1)[-1].replace('.jpg', '.png')
            image.save(tmp_path / 'faces' / name)
            photo = Image.new('RGB', (1000, 900), (90, 110, 130))
            photo.paste(image.resize((534, 654)), (200, 100))
            photo.rotate(8, Image.Resampling.BICUBIC).save(tmp_path / 'photos' / name)
    target = pixels_of(tmp_path / 'faces', 'auto')
    middle = pixels_of(tmp_path / 'photos', 'auto')
    monkeypatch.setattr(cache, 'check_enough', lambda *arguments: None)   # some are not found
    found = pixels_of(tmp_path / 'photos', 'face')
    assert len(found) >= 0.8 * len(target)
    errors = {name: np.abs(found[name] - target[name]).mean() for name in found}
    assert np.median(list(errors.values())) < 25
    assert np.mean([error < np.abs(middle[name] - target[name]).mean()
                    for name, error in errors.items()]) > 0.9


def pixels_of(root, crop):
    """{name: the middle of its pixels, where the face is}."""
    names, pixels = load(root, crop)
    return dict(zip(names, pixels[:, :, 18:52, 15:49].astype(float)))
