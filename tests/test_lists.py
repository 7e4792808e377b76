"""CelebA's lists in every layout: which attributes an image has, which part it belongs to."""
import tarfile
import zipfile

import pytest
from conftest import make_image
from test_sources import NAMES, parquet_of, tar_of, zip_of

from dldemos.VAE.images.lists import partition
from dldemos.VAE.images.looks import are_known, looks_of
from dldemos.VAE.latent.attributes import read_attributes
from dldemos.VAE.load_celebA import CelebADataset, split
from dldemos.VAE.support.errors import UserError

HAS = {'Bald': [i % 3 == 0 for i in range(10)], 'Smiling': [i % 2 == 0 for i in range(10)]}
PARTS = [0, 0, 2, 0, 1, 0, 2, 0, 0, 2]         # scattered, as nobody's but a test's
TRAINING = [i for i in range(10) if PARTS[i] != 2]


def attribute_txt(false='-1', true='1'):
    rows = [f'{name} ' + ' '.join(f'{true if values[i] else false:>2}' for values in HAS.values())
            for i, name in enumerate(NAMES)]
    return '\n'.join(['10', ' '.join(HAS), *rows]) + '\n'


def attribute_csv(false='-1', true='1'):
    rows = [','.join([name, *(true if values[i] else false for values in HAS.values())])
            for i, name in enumerate(NAMES)]
    return '\ufeff' + '\r\n'.join(['image_id,' + ','.join(HAS), *rows]) + '\r\n'


def partition_txt(parts=PARTS):
    return ''.join(f'{name} {part}\n' for name, part in zip(NAMES, parts))


def partition_csv():
    return 'image_id,partition\n' + partition_txt().replace(' ', ',')


def check_attributes(root):
    names = CelebADataset(root).names
    assert [name.rsplit('/', 1)[-1] for name in names] == NAMES
    found = read_attributes(root, names)
    assert {name: values.tolist() for name, values in found.items()} == HAS


def parts_of(root):
    """CelebA's partition of a source's images, or None."""
    dataset = CelebADataset(root)
    return dataset.partition or partition(root, dataset.names)


def check_parts(root):
    """The held-out split is the test part, and no look of it is one of the training split."""
    dataset = CelebADataset(root)
    training, held_out = split(dataset, 0.1)
    assert list(training.indices) == TRAINING
    assert list(held_out.indices) == [2, 6, 9]
    known = are_known(dataset.looks, looks_of(training), 0)
    assert [i for i in range(10) if known[i]] == TRAINING
    assert len(split(dataset, 0.2)[1]) == 2 and len(split(dataset, 0)[1]) == 0   # as asked for


# Attributes

@pytest.mark.parametrize('text, suffix', [
    (attribute_txt(), 'txt'), (attribute_txt('0'), 'txt'), (attribute_txt('false', 'true'), 'txt'),
    (attribute_csv(), 'csv'), (attribute_csv('0'), 'csv'), (attribute_csv('False', 'True'), 'csv')])
@pytest.mark.parametrize('place', ['images', '.', '..', '../Anno'])
def test_a_list_is_found_in_a_folder_beside_it_and_above(images, text, suffix, place):
    inside = images / 'images'
    inside.mkdir()
    for name in NAMES:
        (images / name).rename(inside / name)
    folder = (images / place).resolve()
    folder.mkdir(exist_ok=True)
    (folder / f'list_attr_celeba.{suffix}').write_bytes(text.encode())
    check_attributes(inside)


@pytest.mark.parametrize('text, suffix', [(attribute_txt(), 'txt'), (attribute_csv(), 'csv')])
def test_a_list_in_an_archive_or_beside_it(images, tmp_path, text, suffix):
    (tmp_path / 'x').mkdir()
    (tmp_path / f'x/list_attr_celeba.{suffix}').write_bytes(text.encode())
    beside = zip_of(images, tmp_path / 'x/beside.zip')
    check_attributes(beside)
    (tmp_path / 'y').mkdir()
    archive = zip_of(images, tmp_path / 'y/archive.zip', 'img_align_celeba/img_align_celeba/')
    with zipfile.ZipFile(archive, 'a') as file:
        file.write(tmp_path / f'x/list_attr_celeba.{suffix}', f'list_attr_celeba.{suffix}')
    check_attributes(archive)
    tar = tar_of(images, tmp_path / 'y/faces.tar')
    with tarfile.open(tar, 'a') as file:
        file.add(tmp_path / f'x/list_attr_celeba.{suffix}', f'celeba/list_attr_celeba.{suffix}')
    check_attributes(tar)


@pytest.mark.parametrize('true, false', [(1, -1), (1, 0), (True, False)])
def test_parquets_own_columns(images, tmp_path, true, false):
    columns = {column: {name: true if has else false for name, has in zip(NAMES, values)}
               for column, values in HAS.items()}
    columns['celeb_id'] = {name: 7 * i + 2 for i, name in enumerate(NAMES)}
    root = parquet_of(images, tmp_path / 'hub', {
        'train-0.parquet': NAMES[5:8], 'train-1.parquet': NAMES[:5], 'test-0.parquet': NAMES[8:]},
        columns)
    check_attributes(root)
    bare = parquet_of(images, tmp_path / 'bare', {'train.parquet': NAMES})
    with pytest.raises(UserError, match='nor a column of an attribute'):
        read_attributes(bare, NAMES)
    (tmp_path / 'list_attr_celeba.txt').write_text(attribute_txt())
    check_attributes(bare)


def test_a_list_that_cannot_tell_images_apart_is_refused(images):
    (images / 'more').mkdir()
    make_image(4).save(images / 'more' / '000001.jpg')
    (images / 'list_attr_celeba.txt').write_text(attribute_txt())
    with pytest.raises(UserError, match='cannot tell the images apart'):
        read_attributes(images, CelebADataset(images).names)


@pytest.mark.parametrize('text, suffix', [
    ('', 'csv'), ('image_id,Bald\n000001.jpg,yes\n', 'csv'),
    ('image_id,Bald\n000001.jpg,1,1\n', 'csv'), ('1\n', 'txt'),
    ('1\nBald Smiling\n000001.jpg 1\n', 'txt')])
def test_a_ragged_list_is_refused_in_a_sentence(images, text, suffix):
    (images / f'list_attr_celeba.{suffix}').write_text(text)
    with pytest.raises(UserError, match=f'list_attr_celeba.{suffix}.* is not laid out as'):
        read_attributes(images, NAMES)


def test_names_may_hold_blanks(images):
    """In a .txt too, and lines may end as on Windows."""
    (images / NAMES[0]).rename(images / 'a face.jpg')
    names = CelebADataset(images).names
    attributes, parts = (text.replace(NAMES[0], 'a face.jpg').replace('\n', '\r\n').encode()
                         for text in (attribute_txt(), partition_txt()))
    (images / 'list_attr_celeba.txt').write_bytes(attributes)
    (images / 'list_eval_partition.txt').write_bytes(parts)
    assert read_attributes(images, names)['Bald'].tolist() == [*HAS['Bald'][1:], HAS['Bald'][0]]
    assert partition(images, names) == [*PARTS[1:], PARTS[0]]


# Parts

@pytest.mark.parametrize('name, text', [('list_eval_partition.txt', partition_txt()),
                                        ('list_eval_partition.csv', partition_csv())])
def test_the_partition_decides_what_is_held_out(images, tmp_path, name, text):
    archive = zip_of(images, tmp_path / 'archive.zip', 'img_align_celeba/img_align_celeba/')
    with zipfile.ZipFile(archive, 'a') as file:
        file.writestr(name, text)
    tar = tar_of(images, tmp_path / 'faces.tar.gz', 'w:gz')
    assert parts_of(tar) is None
    check_parts(archive)
    (tmp_path / name).write_text(text)
    check_parts(images)                                  # beside it, though decoded before
    check_parts(tar)
    (images / 'Eval').mkdir()
    (tmp_path / name).rename(images / 'Eval' / name)
    check_parts(images)


def test_the_shards_names_decide_what_is_held_out(images, tmp_path):
    parts = {'train': [0], 'validation': [1], 'test': [2]}
    root = parquet_of(images, tmp_path / 'hub', {
        f'data/{word}-00000-of-00001.parquet': [NAMES[i] for i in range(10) if PARTS[i] in numbers]
        for word, numbers in parts.items()})
    check_parts(root)
    assert parts_of(root) == PARTS


def test_a_partition_of_other_images_or_without_a_test_part_is_none(images, tmp_path, capsys):
    dataset = CelebADataset(images)
    for text in ('other.jpg 2\n', partition_txt([0] * 10), partition_txt([2] * 10)):
        (tmp_path / 'list_eval_partition.txt').write_text(text)
        training, held_out = split(dataset, 0.1)
        assert (list(training.indices), list(held_out.indices)) == (list(range(9)), [9])
    (tmp_path / 'list_eval_partition.txt').write_text('000001.jpg 5\n')
    with pytest.raises(UserError, match='list_eval_partition.txt, line 1, is not laid out'):
        split(dataset, 0.1)


def test_the_first_images_have_their_parts(images, tmp_path):
    (tmp_path / 'list_eval_partition.txt').write_text(partition_txt())
    training, held_out = split(CelebADataset(images, n_images=5), 0.1)
    assert (list(training.indices), list(held_out.indices)) == ([0, 1, 3, 4], [2])
