import pickle

import numpy
import pytest
import torch
from conftest import make_image, run_module
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Subset, default_collate
from torchvision import transforms

from dldemos.VAE.images.which import last_of_folders
from dldemos.VAE.load_celebA import (
    CelebADataset,
    batches,
    find_images,
    get_dataloader,
    split,
)
from dldemos.VAE.pretrained import sample_faces
from dldemos.VAE.support.errors import UserError


def of_torchvision(path, side):
    """An image through the article's pipeline."""
    pipeline = transforms.Compose([transforms.CenterCrop(side), transforms.Resize((64, 64)),
                                   transforms.ToTensor()])
    return pipeline(Image.open(path).convert('RGB'))


def test_items_are_those_of_torchvisions_pipeline(images):
    dataset = CelebADataset(images)
    assert len(dataset) == 10
    for i in range(10):
        assert dataset[i].dtype == torch.float32
        torch.testing.assert_close(dataset[i], of_torchvision(images / f'{i + 1:06}.jpg', 168),
                                   atol=1 / 255, rtol=0)


@pytest.mark.parametrize('size, side', [((178, 218), 168), ((1780, 2180), 1780), ((300, 90), 90)])
def test_the_crop_depends_on_the_size(tmp_path, size, side):
    """168 of CelebA's images, as in the article; of any other the largest square."""
    (tmp_path / 'mine').mkdir()
    make_image(2, size).save(tmp_path / 'mine/a.png')
    torch.testing.assert_close(CelebADataset(tmp_path / 'mine')[0],
                               of_torchvision(tmp_path / 'mine/a.png', side), atol=1 / 255, rtol=0)
    with pytest.raises(UserError, match='crop must be auto, face or a number'):
        CelebADataset(tmp_path / 'mine', crop='middle')


def test_batches_are_shuffled_by_the_seed(images):
    assert next(iter(get_dataloader(images))).shape == (10, 3, 64, 64)   # all there are
    loader = get_dataloader(images, batch_size=4)
    assert [len(batch) for batch in loader] == [4, 4, 2]
    one, again, other = (torch.cat(list(get_dataloader(images, batch_size=4, seed=seed)))
                         for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    in_order = torch.stack(list(CelebADataset(images)))
    assert not torch.equal(one, in_order)
    torch.testing.assert_close(one.sum(), in_order.sum())


def test_mirroring_turns_half_of_the_images_and_keeps_the_files(images):
    dataset = CelebADataset(images)
    plain = torch.cat(list(batches(dataset, 4, shuffle=False)))
    torch.manual_seed(0)
    turned = as_they_are = 0
    for _ in range(10):
        for image in torch.cat(list(batches(dataset, 4, mirror=True))):
            as_they_are += any(torch.equal(image, other) for other in plain)
            turned += any(torch.equal(image.flip(2), other) for other in plain)
    assert turned + as_they_are == 10 * len(dataset)
    assert 0.3 < turned / (10 * len(dataset)) < 0.7
    assert torch.equal(torch.cat(list(batches(dataset, 4, shuffle=False))), plain)


def test_the_last_tenth_is_held_out(images):
    dataset = CelebADataset(images)
    training, held_out = split(dataset, 0.1)
    assert (list(training.indices), list(held_out.indices)) == (list(range(9)), [9])
    torch.testing.assert_close(next(iter(batches(held_out, shuffle=False)))[0], dataset[9])
    trained_on = torch.cat(list(batches(training, 4)))
    assert len(trained_on) == 9
    assert all((image - dataset[9]).abs().max() > 0.05 for image in trained_on)
    assert len(split(dataset, 0)[1]) == 0


@pytest.mark.parametrize('sizes, expected', [
    ({'cats': 20, 'dogs': 30}, {'cats': 2, 'dogs': 3}), ({'': 5, 'a': 15}, {'': 0, 'a': 2}),
    ({f'person {i}': 1 for i in range(100)}, {f'person {i}': int(i % 10 == 5) for i in range(100)}),
    ({f'{i}': 7 for i in range(10)}, None)])
def test_the_last_tenth_of_each_folder_is_held_out(sizes, expected):
    names = sorted(f'{folder}/{i:03}.jpg'.lstrip('/') for folder, n in sizes.items()
                   for i in range(n))
    chosen = [names[i] for i in last_of_folders(names, 0.1)]
    counts = {folder: sum(name.rpartition('/')[0] == folder for name in chosen) for folder in sizes}
    assert sum(counts.values()) == round(0.1 * len(names))
    if expected and len(sizes) < 100:
        assert counts == expected
        assert all(f'{folder}/{n - 1:03}.jpg'.lstrip('/') in chosen
                   for folder, n in sizes.items() if counts[folder])
    assert max(counts.values()) - min(counts.values()) < 3


def test_celeba_has_its_own_test_split():
    class Whole:
        names = [f'{i:06}.jpg' for i in range(1, 202600)]

        def __len__(self):
            return 202599

    whole = Whole()
    training, held_out_split = split(whole, 0.1)
    assert whole.names[training.indices[-1]] == '182637.jpg'
    assert [whole.names[held_out_split.indices[i]] for i in (0, -1)] == ['182638.jpg', '202599.jpg']
    assert len(split(whole, 0.5)[1]) == 101300
    assert len(split(whole, 0)[1]) == 0


def test_a_pickled_dataset_takes_no_pixels_along(images):
    dataset = CelebADataset(images)
    in_order = torch.stack(list(dataset))                     # the pixels are mapped by now
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 2000
    assert torch.equal(pickle.loads(pickled)[:], in_order)


@pytest.mark.parametrize('n_workers', [0, 2])
def test_the_articles_own_line_gives_float_batches(images, n_workers):
    """DataLoader(CelebADataset(root), 16, shuffle=True), its default collate and workers."""
    dataset = CelebADataset(images)
    in_order = torch.stack([dataset[i] for i in range(10)])
    batch, = DataLoader(dataset, 16, shuffle=True, num_workers=n_workers)
    assert batch.shape == (10, 3, 64, 64) and batch.dtype == torch.float32
    assert 0 <= batch.min() < 0.1 and 0.8 < batch.max() <= 1
    torch.testing.assert_close(batch.sum(), in_order.sum())
    assert torch.equal(torch.cat(list(DataLoader(dataset, 4, num_workers=n_workers))), in_order)


def test_parts_and_sums_of_datasets_are_loaded_alike(images):
    dataset = CelebADataset(images)
    some = Subset(dataset, [7, 2, 5])
    assert torch.equal(next(iter(DataLoader(some, 16))), dataset[[7, 2, 5]])
    both = ConcatDataset([some, dataset])
    assert next(iter(DataLoader(both, 16))).shape == (13, 3, 64, 64)
    assert torch.equal(both[3], dataset[0])
    assert torch.equal(default_collate([dataset[0], dataset[1]]), dataset[:2])


def test_indices_are_those_of_a_sequence(images):
    dataset = CelebADataset(images, n_images=4)
    everything = dataset[:]
    assert everything.shape == (4, 3, 64, 64)
    assert torch.equal(dataset[torch.tensor([3, 0])], everything[[3, 0]])
    assert torch.equal(dataset[numpy.array([1, -1])], everything[[1, 3]])
    assert torch.equal(dataset[torch.tensor(2)], everything[2])
    assert dataset[[]].shape == (0, 3, 64, 64)
    for index in (4, -5, [0, 4]):
        with pytest.raises(IndexError):
            dataset[index]


def test_keywords_go_to_the_dataset_as_in_the_article(images):
    loader = get_dataloader(images, n_images=3, crop=100)
    assert torch.cat(list(loader)).shape == (3, 3, 64, 64)
    assert torch.equal(loader.dataset[0], CelebADataset(images, crop=100)[0])


def test_sample_faces_are_taken_where_celeba_is_not(here, capsys, monkeypatch):
    monkeypatch.setattr(sample_faces, 'draw_sample_faces', lambda folder: folder)
    assert find_images() == 'data/sample_faces'
    line, = capsys.readouterr().out.splitlines()
    assert 'no CelebA in data/celebA/img_align_celeba' in line and 'data/README.md' in line
    (here / 'data/celebA/img_align_celeba').mkdir(parents=True)
    assert find_images() == 'data/celebA/img_align_celeba'
    assert capsys.readouterr().out == ''


def test_the_preview_prints_a_shape_and_saves_a_grid(here):
    folder = here / 'data/celebA/img_align_celeba'
    folder.mkdir(parents=True)
    for i in range(20):
        make_image(i).save(folder / f'{i + 1:06}.jpg')
    done = run_module('dldemos.VAE.load_celebA', cwd=here)
    assert done.returncode == 0, done.stderr
    assert '(16, 3, 64, 64)' in done.stdout
    assert Image.open(here / 'work_dirs/tmp.jpg').size == (4 * 66 + 2, 4 * 66 + 2)
