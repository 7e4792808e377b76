import io
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, interrupt
from PIL import Image

from dldemos.VAE.images import synthetic
from dldemos.VAE.images.synthetic import (
    ATTRIBUTES,
    attributes,
    draw_face,
    draw_sample_faces,
    random_factors,
    unfinished_folder,
)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def factors(**changes):
    """A plain face, with changes."""
    face = random_factors(random.Random(4))
    face |= {'man': False, 'skin': 0.2, 'hair': 'brown', 'cut': 'short', 'glasses': 'none',
             'beard': 'none', 'mood': 0.0, 'mouth_open': 0.0, 'tilt': 0.0, 'shift': (0, 0),
             'yaw': 0.0, 'light': 0.0, 'blush': 0.0, 'lipstick': 0.0, 'age': 0.2}
    return face | changes


def pixels(**changes):
    return np.asarray(draw_face(factors(**changes)), dtype=int)


def difference(a, b, box):
    """Mean absolute difference of two pictures within (left, top, right, bottom)."""
    left, top, right, bottom = box
    return np.abs(a - b)[top:bottom, left:right].mean()


EYES, MOUTH = (60, 98, 118, 126), (70, 140, 108, 165)
CHIN, TOP = (70, 165, 108, 182), (60, 45, 118, 75)


def test_same_seed_same_bytes(tmp_path):
    one = contents(draw_sample_faces(tmp_path / 'a', n_faces=6, seed=3))
    assert contents(draw_sample_faces(tmp_path / 'b', n_faces=6, seed=3)) == one
    other = contents(draw_sample_faces(tmp_path / 'c', n_faces=6, seed=4))
    assert all(other[name] != one[name] for name in one)
    fewer = contents(draw_sample_faces(tmp_path / 'd', n_faces=4, seed=3))
    assert all(fewer[f'{i:06}.jpg'] == one[f'{i:06}.jpg'] for i in (1, 2, 3, 4))


def test_faces_are_named_and_sized_as_celebas(tmp_path):
    folder = draw_sample_faces(tmp_path / 'faces', n_faces=5)
    assert sorted(contents(folder)) == [
        *(f'{i:06}.jpg' for i in range(1, 6)), 'list_attr_sample_faces.txt']
    for path in folder.glob('*.jpg'):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ('JPEG', 'RGB', (178, 218))


def test_the_attribute_list_has_celebas_layout(tmp_path):
    folder = draw_sample_faces(tmp_path / 'faces', n_faces=30, seed=1)
    count, header, *rows = (folder / 'list_attr_sample_faces.txt').read_text().splitlines()
    assert int(count) == len(rows) == 30
    assert tuple(header.split()) == ATTRIBUTES == tuple(sorted(ATTRIBUTES))
    for i, row in enumerate(rows, 1):
        name, *values = row.split()
        assert name == f'{i:06}.jpg'
        expected = attributes(random_factors(random.Random(f'1/{i}')))
        assert [int(value) == 1 for value in values] == list(expected.values())
        assert set(values) <= {'1', '-1'}


def test_every_attribute_has_both_values():
    many = [attributes(random_factors(random.Random(i))) for i in range(1500)]
    for name in ATTRIBUTES:
        assert 0.02 < sum(face[name] for face in many) / 1500 < 0.98, name


@pytest.mark.parametrize('changes, where, elsewhere', [
    ({'glasses': 'round'}, EYES, CHIN), ({'mood': 1.0}, MOUTH, TOP),
    ({'mood': 0.0, 'mouth_open': 0.9}, MOUTH, TOP), ({'hair': 'blond'}, TOP, CHIN),
    ({'beard': 'full'}, CHIN, TOP), ({'cut': 'bald'}, TOP, CHIN),
    ({'iris': 3, 'eye_open': 1.0}, EYES, CHIN), ({'lipstick': 1.0}, MOUTH, TOP)])
def test_a_factor_changes_what_it_names(changes, where, elsewhere):
    plain, changed = pixels(iris=0), pixels(**{'iris': 0, **changes})
    assert difference(plain, changed, where) > 0.8
    assert difference(plain, changed, elsewhere) < 0.2


def seen(**changes):
    """The picture that the model sees: CelebA's square, 64 x 64."""
    square = draw_face(factors(**changes)).crop((5, 25, 173, 193))
    return np.asarray(square.resize((64, 64), Image.Resampling.BILINEAR), dtype=int)


SEEN_EYES, SEEN_MOUTH = (18, 26, 46, 40), (24, 44, 40, 56)


@pytest.mark.parametrize('skin', [0, 0.25, 0.5, 0.75])
def test_glasses_and_a_smile_are_plain_to_see_in_64_pixels(skin):
    plain = seen(skin=skin)
    for kind in ('round', 'square', 'sun'):
        assert difference(plain, seen(skin=skin, glasses=kind), SEEN_EYES) > 25, kind
    assert difference(plain, seen(skin=skin, mood=0.85, mouth_open=0.8), SEEN_MOUTH) > 28


def test_many_faces_smile_and_wear_glasses():
    many = [random_factors(random.Random(i)) for i in range(1000)]
    for name in ('Eyeglasses', 'Smiling', 'Mouth_Slightly_Open'):
        assert 0.35 < sum(attributes(face)[name] for face in many) / 1000 < 0.65, name
    assert not any(0.15 < face['mood'] < 0.7 for face in many)     # it laughs, or it does not


def test_eyes_are_nearly_where_celebas_are():
    many = [random_factors(random.Random(i)) for i in range(1000)]
    assert np.std([face['tilt'] for face in many]) < 1.5           # degrees
    assert np.std([face['shift'] for face in many]) < 0.8          # pixels


def test_skin_gets_darker_along_its_factor():
    cheeks = [pixels(skin=tone)[128:134, 64:72].mean() for tone in (0, 0.25, 0.5, 0.75, 1)]
    assert all(a > b + 10 for a, b in zip(cheeks, cheeks[1:]))


def test_the_pose_moves_the_face():
    assert difference(pixels(), pixels(shift=(4, 0)), EYES) > 3
    assert difference(pixels(), pixels(tilt=8.0), EYES) > 3


def test_a_folder_that_is_there_stays_as_it_is(tmp_path):
    folder = draw_sample_faces(tmp_path / 'faces', n_faces=2)
    before = contents(folder)
    assert draw_sample_faces(tmp_path / 'faces', n_faces=9, seed=8) == folder
    assert contents(folder) == before


def test_a_stopped_drawing_is_completed(tmp_path, monkeypatch):
    whole = contents(draw_sample_faces(tmp_path / 'whole', n_faces=8))
    drawn = []

    def stopping(face):
        drawn.append(1)
        if len(drawn) == 4:
            raise KeyboardInterrupt
        return draw_face(face)

    monkeypatch.setattr(synthetic, 'draw_face', stopping)
    with pytest.raises(KeyboardInterrupt):
        draw_sample_faces(tmp_path / 'faces', n_faces=8)
    assert not (tmp_path / 'faces').exists()
    (unfinished_folder(tmp_path / 'faces') / '000005.jpg.1.tmp').write_bytes(b'half a face')
    assert contents(draw_sample_faces(tmp_path / 'faces', n_faces=8)) == whole
    assert len(drawn) == 4 + 5                              # three were there already
    assert not unfinished_folder(tmp_path / 'faces').exists()


def test_a_drawing_of_another_seed_is_not_mixed_in(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, 'attribute_list', interrupt)
    with pytest.raises(KeyboardInterrupt):
        draw_sample_faces(tmp_path / 'faces', n_faces=3, seed=1)
    monkeypatch.undo()
    expected = contents(draw_sample_faces(tmp_path / 'two', n_faces=3, seed=2))
    assert contents(draw_sample_faces(tmp_path / 'faces', n_faces=3, seed=2)) == expected


DRAW = '''
import os
from dldemos.VAE.images import synthetic
os.cpu_count, synthetic.FACES_EACH = lambda: 2, 10
synthetic.draw_sample_faces("faces", {})
'''


def faces_in(folder):
    return len(list(folder.glob('*.jpg')))


def wait_for(n_faces, unfinished):
    deadline = time.time() + 60
    while faces_in(unfinished) < n_faces and time.time() < deadline:
        time.sleep(0.01)
    assert faces_in(unfinished) >= n_faces


def start(cwd, n_faces):
    return subprocess.Popen([sys.executable, '-c', DRAW.format(n_faces)], cwd=cwd,
                            env={**os.environ, 'PYTHONPATH': str(REPOSITORY)},
                            stderr=subprocess.PIPE)


def test_a_killed_drawing_leaves_no_folder(tmp_path):
    process = start(tmp_path, 100_000)
    wait_for(3, unfinished_folder(tmp_path / 'faces'))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / 'faces').exists()
    expected = contents(draw_sample_faces(tmp_path / 'whole', n_faces=2))
    assert contents(draw_sample_faces(tmp_path / 'faces', n_faces=2)) == expected


def test_helpers_end_when_the_drawing_is_killed(tmp_path):
    process = start(tmp_path, 100_000)
    unfinished = unfinished_folder(tmp_path / 'faces')
    wait_for(3, unfinished)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline, before = time.time() + 60, -1
    while faces_in(unfinished) != before and time.time() < deadline:
        before = faces_in(unfinished)
        time.sleep(0.5)
    assert faces_in(unfinished) == before < 100_000


def test_two_processes_at_once(tmp_path):
    processes = [start(tmp_path, 60) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    expected = contents(draw_sample_faces(tmp_path / 'alone', n_faces=60))
    assert contents(tmp_path / 'faces') == expected
    assert sorted(os.listdir(tmp_path)) == ['alone', 'faces']


def test_a_full_disk_leaves_no_folder(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Image.Image, 'save', full)
    with pytest.raises(OSError):
        draw_sample_faces(tmp_path / 'faces', n_faces=3)
    assert not (tmp_path / 'faces').exists()


@pytest.fixture
def started(monkeypatch):
    """Three processes for however few faces; the helpers that were started."""
    processes = []
    popen = subprocess.Popen

    def recorded(*arguments, **options):
        processes.append(popen(*arguments, **options))
        return processes[-1]

    monkeypatch.setattr(synthetic, 'FACES_EACH', 1)
    monkeypatch.setattr(os, 'cpu_count', lambda: 3)
    monkeypatch.setattr(subprocess, 'Popen', recorded)
    return processes


@pytest.mark.parametrize('name, seed', [('faces', 0), ('my faces; $x \udcff', 'a "seed"'),
                                        ('-c', -1)])
def test_helpers_draw_the_same_faces(here, started, monkeypatch, name, seed):
    """This process draws one face, and that only when helpers have drawn all."""
    (here / 'random.py').write_text('raise SystemExit')        # not what the helpers import
    unfinished = unfinished_folder(here / name, seed)

    def late(face):
        drawn.append(face)
        wait_for(20, unfinished)
        return draw_face(face)

    drawn = []
    monkeypatch.setattr(synthetic, 'draw_face', late)
    monkeypatch.setattr(sys, 'path', [path for path in sys.path
                                      if not os.path.exists(f'{path}/dldemos')])
    folder = draw_sample_faces(name, n_faces=20, seed=seed)
    assert (len(drawn), len(started)) == (1, 2)
    monkeypatch.undo()
    assert contents(here / folder) == contents(draw_sample_faces(here / 'alone', 20, seed))
    assert sorted(os.listdir(here)) == sorted([name, 'alone', 'random.py'])


@pytest.mark.parametrize('signal_number', [signal.SIGKILL, signal.SIGSTOP])
def test_a_helper_that_dies_or_hangs_is_not_missed(tmp_path, started, monkeypatch, signal_number):
    unfinished = unfinished_folder(tmp_path / 'faces')

    def interfering(face):
        if not drawn:
            wait_for(3, unfinished)
            started[0].send_signal(signal_number)
        drawn.append(face)
        return draw_face(face)

    drawn = []
    monkeypatch.setattr(synthetic, 'draw_face', interfering)
    folder = draw_sample_faces(tmp_path / 'faces', n_faces=100)
    assert [process.returncode is None for process in started] == [False, False]
    monkeypatch.undo()
    assert contents(folder) == contents(draw_sample_faces(tmp_path / 'alone', n_faces=100))


@pytest.mark.parametrize('executable', ['', None, '/no/such/python', sys.executable + '-no',
                                        '/bin/sh'])
def test_without_a_python_to_start_it_draws_alone(tmp_path, started, monkeypatch, executable):
    monkeypatch.setattr(sys, 'executable', executable)
    folder = draw_sample_faces(tmp_path / 'faces', n_faces=6)
    assert not started
    monkeypatch.undo()
    assert contents(folder) == contents(draw_sample_faces(tmp_path / 'alone', n_faces=6))


@pytest.mark.parametrize('fault', [KeyboardInterrupt, OSError(28, 'No space left on device')])
def test_helpers_end_with_the_call(tmp_path, started, monkeypatch, fault):
    def failing(face):
        raise fault

    monkeypatch.setattr(synthetic, 'draw_face', failing)
    with pytest.raises((KeyboardInterrupt, OSError)):
        draw_sample_faces(tmp_path / 'faces', n_faces=2000)
    assert [process.returncode for process in started] == [-signal.SIGKILL] * 2


def test_a_fault_that_stops_helpers_too_is_told_once(tmp_path, started, monkeypatch, capfd):
    def late(face):
        unfinished_folder(tmp_path / 'faces').rename(tmp_path / 'elsewhere')
        assert [process.wait(timeout=60) for process in started] == [1, 1]
        return draw_face(face)

    monkeypatch.setattr(synthetic, 'draw_face', late)
    with pytest.raises(FileNotFoundError):
        draw_sample_faces(tmp_path / 'faces', n_faces=2000)
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize('cores, missing, n', [
    (1, 4000, 0), (None, 4000, 0), (2, 4000, 1), (64, 4000, 7), (2, 999, 0), (2, 1000, 1),
    (64, 100_000, 63), (2, 0, 0)])
def test_a_helper_for_each_core_with_much_to_draw(monkeypatch, cores, missing, n):
    monkeypatch.setattr(os, 'cpu_count', lambda: cores)
    assert synthetic.count_helpers(missing) == n


def test_the_bar_counts_the_faces_of_helpers(tmp_path, started, monkeypatch):
    counts = []

    class Bar(synthetic.tqdm):
        def __init__(self, **options):
            super().__init__(**{**options, 'disable': False, 'file': io.StringIO()})

        def update(self, n):
            super().update(n)
            counts.append(self.n)

    def late(face):
        wait_for(20, unfinished_folder(tmp_path / 'faces'))
        return draw_face(face)

    monkeypatch.setattr(synthetic, 'tqdm', Bar)
    monkeypatch.setattr(synthetic, 'draw_face', late)
    draw_sample_faces(tmp_path / 'faces', n_faces=20)
    assert counts == [20]


def test_two_that_put_one_face_there_at_once(tmp_path, monkeypatch):
    """As Windows does: one of them is refused."""
    replace = Path.replace

    def refused(path, target):
        replace(path, target)
        raise PermissionError(13, 'Access is denied')

    expected = contents(draw_sample_faces(tmp_path / 'alone', n_faces=3))
    monkeypatch.setattr(Path, 'replace', refused)
    assert contents(draw_sample_faces(tmp_path / 'faces', n_faces=3)) == expected
