"""Images kept on an accelerator: when, and that the batches are those of the loader."""
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Subset, TensorDataset

from dldemos.VAE import main as program
from dldemos.VAE.images.shuffle import flip_half
from dldemos.VAE.load_celebA import CelebADataset, batches, get_dataloader
from dldemos.VAE.model import VAE
from dldemos.VAE.training import on_device, steps

CPU, CUDA, MPS, META = (torch.device(name) for name in ('cpu', 'cuda', 'mps', 'meta'))


def on_cpu(dataloader):
    """The loader as an accelerator would have it, its pixels on the CPU."""
    return on_device.KeptBatches(dataloader, on_device.upload(
        *on_device.images_of(dataloader), CPU))


def two_epochs(dataloader):
    """The batches of the epochs 5 and 6, and the state of the random numbers after them."""
    torch.manual_seed(7)
    passes = []
    for epoch in (5, 6):
        steps.set_epoch(dataloader, epoch)
        for batch in dataloader:
            passes.append(batch)
            torch.randn(3)                   # as a step on the CPU draws
    return passes, torch.get_rng_state()


@pytest.fixture
def fits(monkeypatch):
    """A device that has room for any number of images."""
    monkeypatch.setattr(on_device, 'free_memory', lambda device: 2**40)


@pytest.fixture
def uploads(monkeypatch):
    """The numbers of images that were uploaded."""
    numbers, upload = [], on_device.upload

    def counted(dataset, indices, device):
        numbers.append(len(indices))
        return upload(dataset, indices, device)

    monkeypatch.setattr(on_device, 'upload', counted)
    return numbers


@pytest.mark.parametrize('mirror', [False, True])
@pytest.mark.parametrize('part', ['all', 'first', 'range', 'list', 'tensor'])
def test_kept_batches_are_those_of_the_loader(images, mirror, part):
    dataset = CelebADataset(images, n_images=7 if part == 'first' else None)
    if part in ('range', 'list', 'tensor'):
        dataset = Subset(dataset, {'range': range(2, 9), 'list': [9, 0, -3, 4, 4],
                                   'tensor': torch.tensor([5, 1, 8])}[part])
    expected, state = two_epochs(batches(dataset, 3, seed=1, mirror=mirror))
    found, its_state = two_epochs(on_cpu(batches(dataset, 3, seed=1, mirror=mirror)))
    assert len(found) == len(expected) > 1
    assert all(torch.equal(a, b) for a, b in zip(found, expected))
    assert torch.equal(its_state, state)
    assert all(batch.dtype == torch.float32 and batch.is_contiguous(
        memory_format=torch.channels_last) for batch in found)


def test_every_value_of_a_pixel_is_that_of_the_division():
    pixels = torch.arange(768).remainder(256).to(torch.uint8).view(4, 3, 8, 8)
    batch = on_device.KeptImages(pixels, mirror=False)[[3, 0, 1, 2]]
    assert torch.equal(batch, pixels[[3, 0, 1, 2]].float() / 255)
    assert batch.unique().numel() == 256


@pytest.mark.parametrize('rank', [0, 1, 2])
def test_each_process_keeps_all_and_takes_its_own_part(images, rank):
    def loader():
        return batches(CelebADataset(images), 2, seed=4, rank=rank, n_processes=3, mirror=True)

    expected, found = two_epochs(loader())[0], two_epochs(on_cpu(loader()))[0]
    assert len(found) == len(expected) == 4
    assert all(torch.equal(a, b) for a, b in zip(found, expected))


def test_images_in_order_are_kept_too(images):
    loader = batches(Subset(CelebADataset(images), range(4, 10)), 4, shuffle=False)
    assert [len(batch) for batch in on_cpu(loader)] == [4, 2]
    assert all(torch.equal(a, b) for a, b in zip(on_cpu(loader), loader))


def test_a_loaders_own_random_numbers_are_used(images):
    def loader():
        dataset = CelebADataset(images)
        generator = torch.Generator().manual_seed(3)
        sampler = BatchSampler(RandomSampler(dataset, generator=generator), 4, drop_last=True)
        return DataLoader(dataset, batch_size=None, sampler=sampler, generator=generator)

    expected, found = two_epochs(loader())[0], two_epochs(on_cpu(loader()))[0]
    assert len(found) == len(expected) == 4
    assert all(torch.equal(a, b) for a, b in zip(found, expected))


def test_what_training_looks_at_is_there(images):
    loader = batches(Subset(CelebADataset(images), range(9)), 4, mirror=True)
    kept = on_cpu(loader)
    assert (len(kept), kept.dataset, kept.sampler) == (2, loader.dataset, loader.sampler)
    assert steps.smallest_batch(kept) == steps.smallest_batch(loader) == 4
    steps.check_batches(kept, VAE((4, 8), 8))


def test_pixels_are_copied_in_chunks(images, monkeypatch):
    dataset = CelebADataset(images)
    whole = on_device.upload(dataset, [1, 2, 5, 7, 9], CPU)
    assert whole.dtype == torch.uint8 and whole.shape == (5, 3, 64, 64)
    sizes, read = [], dataset.read_pixels
    dataset.read_pixels = lambda chunk: sizes.append(len(chunk)) or read(chunk)
    monkeypatch.setattr(on_device, 'CHUNK_BYTES', 2 * 3 * 64 * 64 + 1)
    assert torch.equal(on_device.upload(dataset, [1, 2, 5, 7, 9], CPU), whole)
    assert sizes == [2, 2, 1]
    monkeypatch.setattr(on_device, 'CHUNK_BYTES', 1)        # less than an image
    assert torch.equal(on_device.upload(dataset, [1, 2, 5, 7, 9], CPU), whole)


def test_only_the_images_of_a_subset_are_counted_and_uploaded(images, fits, uploads):
    dataset = Subset(CelebADataset(images), [8, 2, 5])
    found, indices = on_device.images_of(batches(dataset, 2))
    assert found is dataset.dataset and indices == [8, 2, 5]
    assert on_device.n_bytes(found, indices) == 3 * 3 * 64 * 64
    on_device.kept(batches(dataset, 2), META)
    assert uploads == [3]


def test_apples_gpu_gets_no_more_than_it_reads_rightly(fits):
    assert on_device.fits(2**31 - 1, MPS) and not on_device.fits(2**31, MPS)
    assert on_device.fits(2**31, CUDA)


def test_free_memory_is_what_the_device_says(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (5, 9))
    monkeypatch.setattr(torch.mps, 'recommended_max_memory', lambda: 100)
    monkeypatch.setattr(torch.mps, 'driver_allocated_memory', lambda: 30)
    assert [on_device.free_memory(device) for device in (CUDA, MPS, CPU, META)] == [5, 70, 0, 0]
    assert not on_device.fits(0, CPU)


def test_a_cpu_and_no_loader_are_left_alone(images, uploads):
    loader = get_dataloader(images)
    assert on_device.kept(loader, CPU) is loader
    assert on_device.kept(None, CUDA) is None
    assert uploads == []


@pytest.mark.parametrize('free, is_kept', [(0, False), (20 * 3 * 64 * 64, False),
                                           (20 * 3 * 64 * 64 + 1, True)])
def test_nothing_is_uploaded_that_does_not_fit(images, monkeypatch, uploads, free, is_kept):
    monkeypatch.setattr(on_device, 'free_memory', lambda device: free)
    loader = get_dataloader(images, batch_size=4)
    kept = on_device.kept(loader, META)
    assert (kept is not loader) == is_kept
    assert uploads == [10] * is_kept
    if is_kept:
        assert [(batch.shape[0], batch.device) for batch in kept] == [
            (4, META), (4, META), (2, META)]


class Noisy(CelebADataset):
    def read(self, indices):
        return super().read(indices) + 0.1


class Seeded(DataLoader):
    def __iter__(self):
        yield from list(super().__iter__())[::-1]


def test_loaders_that_are_not_known_stay_as_they_are(images, fits, uploads):
    dataset = CelebADataset(images)
    ours = batches(dataset, 4)
    others = [
        [torch.zeros(2, 3, 64, 64)],
        DataLoader(dataset, 4, shuffle=True),
        DataLoader(dataset, batch_sampler=BatchSampler(range(10), 4, False)),
        DataLoader(dataset, batch_size=None, shuffle=True),
        DataLoader(TensorDataset(torch.zeros(4, 3, 64, 64)), 2),
        batches(Noisy(images), 4),
        batches(Subset(Noisy(images), range(4)), 4),
        batches(Subset(Subset(dataset, range(9)), range(4)), 4),
        batches(torch.zeros(4, 3, 64, 64), 2),
        Seeded(dataset, batch_size=None, sampler=ours.sampler),
        DataLoader(dataset, batch_size=None, sampler=ours.sampler, num_workers=1),
        DataLoader(dataset, batch_size=None, sampler=ours.sampler, collate_fn=lambda x: 1 - x)]
    for loader in others:
        assert on_device.images_of(loader) is None
        assert on_device.kept(loader, META) is loader
    assert uploads == []
    known = DataLoader(dataset, batch_size=None, sampler=ours.sampler, collate_fn=flip_half)
    assert on_device.kept(known, META) is not known


def test_a_copy_to_cuda_is_pinned_and_not_waited_for():
    calls = []

    class Fake(SimpleNamespace):
        def pin_memory(self):
            calls.append('pinned')
            return self

        def to(self, device, **how):
            calls.append((torch.device(device).type, how))
            return self

    for source, device in [('cpu', 'cuda:0'), ('cuda', 'cuda'), ('cpu', 'mps'), ('cpu', 'cpu')]:
        steps.moved(Fake(device=torch.device(source)), device)
    assert calls == ['pinned', ('cuda', {'non_blocking': True}),
                     ('cuda', {}), ('mps', {}), ('cpu', {})]


@pytest.mark.parametrize('mirror', [False, True])
def test_training_on_kept_batches_gives_the_same_weights(images, here, monkeypatch, mirror):
    def train():
        torch.manual_seed(2)
        model = VAE((4, 8, 8), 8)
        dataset = CelebADataset(images)
        program.train('cpu', batches(Subset(dataset, range(8)), 4, mirror=mirror), model,
                      batches(Subset(dataset, [8, 9]), 2, shuffle=False), n_epochs=2)
        return model.state_dict()

    plain = train()
    monkeypatch.setattr(on_device, 'free_memory', lambda device: 2**40)
    used, kept = [], on_device.KeptBatches.__iter__
    monkeypatch.setattr(on_device.KeptBatches, '__iter__',
                        lambda self: used.append(len(self.dataset)) or kept(self))
    found = train()
    assert used == [8, 2, 8, 2]
    assert all(torch.equal(found[name], value) for name, value in plain.items())


@pytest.mark.parametrize('optimizer', ['adam', 'muon'])
@pytest.mark.parametrize('is_kept', [False, True])
def test_no_step_fetches_a_value_from_the_device(images, monkeypatch, optimizer, is_kept):
    """The tensors of the device 'meta' have no values: whatever asks for one fails."""
    if is_kept:
        monkeypatch.setattr(on_device, 'free_memory', lambda device: 2**40)
    model = VAE().to(META, memory_format=torch.channels_last)
    settings = SimpleNamespace(optimizer=optimizer, lr=0.005, adam_betas=(0.9, 0.99),
                               lr_schedule='linear', warm_up=0.5)
    made = steps.make_optimizer(model, settings)
    for group in made.param_groups:
        group['fused'] = False                 # there is no such kernel for 'meta'
    loader = on_device.kept(batches(CelebADataset(images), 2, mirror=True), META)
    assert isinstance(loader, on_device.KeptBatches) == is_kept
    totals = steps.Totals(META, 0)

    def count(*terms):
        totals.add(2, *terms)

    def batches_on_device():
        for images in loader:
            images = steps.to_device(images, META)
            assert images.device == META
            yield images

    program.train_epoch(model.train(), batches_on_device(), made,
                        steps.make_schedule(made, 5, settings), count, 'auto')
    assert totals.steps == 5
    with pytest.raises(RuntimeError, match='meta'):
        totals.average_loss()
