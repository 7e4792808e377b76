import pickle

import pytest
import torch
from conftest import make_image, run_module
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from dldemos.VAE import load_celebA
from dldemos.VAE.load_celebA import CelebADataset, batches, find_images, get_dataloader, split
from dldemos.VAE.support.errors import UserError


def test_items_are_those_of_torchvisions_pipeline(images):
    pipeline = transforms.Compose([transforms.CenterCrop(168), transforms.Resize((64, 64)),
                                   transforms.ToTensor()])
    dataset = CelebADataset(images)
    assert len(dataset) == 10
    for i in range(10):
        expected = pipeline(Image.open(images / f'{i + 1:06}.jpg').convert('RGB'))
        assert dataset[i].dtype == torch.float32
        assert dataset[i].shape == (3, 64, 64)
        torch.testing.assert_close(dataset[i], expected, atol=1 / 255, rtol=0)


def test_img_shape_is_kept(images):
    assert CelebADataset(images, img_shape=(32, 32))[0].shape == (3, 32, 32)


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


def test_n_images_takes_the_first(images):
    dataset = CelebADataset(images, n_images=4)
    assert dataset.names == [f'{i:06}.jpg' for i in range(1, 5)]
    assert len(list(dataset)) == 4
    torch.testing.assert_close(dataset[3], CelebADataset(images)[3])
    torch.testing.assert_close(dataset[-1], dataset[3])


def test_the_last_tenth_is_held_out(images):
    dataset = CelebADataset(images)
    seen, unseen = split(dataset, 0.1)
    assert (len(seen), len(unseen)) == (9, 1)
    held_out = next(iter(batches(unseen, shuffle=False)))
    torch.testing.assert_close(held_out[0], dataset[9])
    trained_on = torch.cat(list(batches(seen, 4)))
    assert len(trained_on) == 9
    assert all((image - held_out[0]).abs().max() > 0.05 for image in trained_on)
    assert len(split(dataset, 0)[1]) == 0


def test_celeba_has_its_own_test_split():
    class Whole:
        names = [f'{i:06}.jpg' for i in range(1, 202600)]

        def __len__(self):
            return 202599

    whole = Whole()
    seen, unseen = split(whole, 0.1)
    assert whole.names[seen.indices[-1]] == '182637.jpg'
    assert [whole.names[unseen.indices[i]] for i in (0, -1)] == ['182638.jpg', '202599.jpg']
    assert len(split(whole, 0.5)[1]) == 101300
    assert len(split(whole, 0)[1]) == 0


def test_worker_processes_give_the_same_batches(images):
    dataset = CelebADataset(images)
    in_order = torch.cat(list(batches(dataset, 4, shuffle=False)))
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 2000                                # the pixels do not travel
    workers = DataLoader(pickle.loads(pickled), 4, num_workers=2,
                         collate_fn=load_celebA.to_float)
    assert torch.equal(torch.cat(list(workers)), in_order)


def test_a_missing_or_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match='nothing at'):
        find_images(tmp_path / 'nowhere')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='no image in'):
        CelebADataset(tmp_path / 'empty')


def test_celeba_is_taken_where_it_is(here, capsys):
    (here / 'data/celebA/img_align_celeba').mkdir(parents=True)
    assert find_images() == 'data/celebA/img_align_celeba'
    assert capsys.readouterr().out == ''


def test_drawn_faces_are_taken_where_celeba_is_not(here, capsys, monkeypatch):
    monkeypatch.setattr(load_celebA, 'draw_sample_faces', lambda: 'data/sample_faces')
    assert find_images() == 'data/sample_faces'
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert 'data/celebA/img_align_celeba' in lines[0]
    assert 'data/sample_faces' in lines[1]
    assert 'data/README.md' in lines[2]


def test_the_preview_prints_a_shape_and_saves_a_grid(here):
    folder = here / 'data/celebA/img_align_celeba'
    folder.mkdir(parents=True)
    for i in range(20):
        make_image(i).save(folder / f'{i + 1:06}.jpg')
    done = run_module('dldemos.VAE.load_celebA', cwd=here)
    assert done.returncode == 0, done.stderr
    assert '(16, 3, 64, 64)' in done.stdout
    assert Image.open(here / 'work_dirs/tmp.jpg').size == (4 * 66 + 2, 4 * 66 + 2)
