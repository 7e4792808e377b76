"""The device in use: its random numbers, images that are read there. CUDA and MPS are imitated."""
from types import SimpleNamespace

import pytest
import torch
from conftest import small_vae
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Subset, TensorDataset

from dldemos.VAE import main as program
from dldemos.VAE.load_celebA import CelebADataset, batches
from dldemos.VAE.model import VAE
from dldemos.VAE.training import devices, steps

CPU, CUDA, MPS, META = (torch.device(name) for name in ('cpu', 'cuda:1', 'mps', 'meta'))
IMAGE = 3 * 64 * 64


@pytest.mark.parametrize('there_is, expected', [(False, 'cpu'), (True, 'mps')])
def test_the_device_is_torchs_accelerator_or_the_cpu(monkeypatch, there_is, expected):
    monkeypatch.setattr(torch, 'accelerator', SimpleNamespace(
        is_available=lambda: there_is, current_accelerator=lambda: MPS))
    assert devices.choose_device('auto').type == expected


class Generators:
    """Takes the place of torch.cuda, which has a generator for each device, or of torch.mps."""

    def __init__(self):
        self.states = {}

    def get_rng_state(self, *device):
        return self.states.get(device, 'untouched')

    def set_rng_state(self, state, *device):
        self.states[device] = state


@pytest.mark.parametrize('device, place', [(CUDA, (CUDA,)), (MPS, ())])
def test_the_state_is_that_of_the_device_in_use(monkeypatch, device, place):
    found = Generators()
    monkeypatch.setattr(torch, 'get_device_module', lambda device: found)
    found.states = {place: 'of this one', ('another',): 'of another'}
    state = devices.random_state(device)
    expected = torch.rand(3)
    found.states[place] = 'later'
    devices.set_random_state(state, device)
    assert found.states == {place: 'of this one', ('another',): 'of another'}
    assert torch.equal(torch.rand(3), expected)
    devices.set_random_state(devices.random_state(CPU), device)       # saved on a CPU
    assert found.states[place] == 'of this one'


def test_evaluation_draws_the_same_and_leaves_the_noise_of_training_alone(images):
    model, held_out = small_vae(), batches(CelebADataset(images), 4, shuffle=False)
    torch.manual_seed(5)
    first = steps.average_terms(program.loss_fn, CPU, held_out, model)
    after = torch.rand(3)
    assert steps.average_terms(program.loss_fn, CPU, held_out, model) == first
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), after)


def two_epochs(dataloader):
    """The batches of the epochs 5 and 6, and the state of the random numbers after them."""
    torch.manual_seed(7)
    passes = []
    if hasattr(dataloader.sampler, 'set_epoch'):
        dataloader.sampler.set_epoch(5)
    for _ in range(2):
        for batch in dataloader:
            passes.append(batch)
            torch.randn(3)                   # as a step on the CPU draws
    return passes, torch.get_rng_state()


@pytest.fixture
def room(monkeypatch):
    """A function that sets the memory that is free on every device."""
    def set_room(n_bytes):
        monkeypatch.setattr(devices, 'free_memory', lambda device: n_bytes)
    set_room(2**40)
    return set_room


def own_order(dataset):
    generator = torch.Generator().manual_seed(3)
    sampler = BatchSampler(RandomSampler(dataset, generator=generator), 4, drop_last=True)
    return DataLoader(dataset, batch_size=None, sampler=sampler, generator=generator)


LOADERS = {
    'shuffled': lambda dataset: batches(dataset, 3, seed=1),
    'mirrored': lambda dataset: batches(dataset, 3, seed=1, mirror=True),
    'in order': lambda dataset: batches(Subset(dataset, range(4, 10)), 4, shuffle=False),
    'a list': lambda dataset: batches(Subset(dataset, [9, 0, -3, 4, 4]), 3, seed=1),
    'a tensor': lambda dataset: batches(Subset(dataset, torch.tensor([5, 1, 8])), 2, mirror=True),
    'a part of a part': lambda dataset: batches(Subset(Subset(dataset, range(9)), range(4)), 2),
    'a process of three': lambda dataset: batches(dataset, 2, 4, rank=1, n_processes=3),
    "torch's own": lambda dataset: DataLoader(dataset, 4, shuffle=True),
    'an order of its own': own_order,
}


@pytest.mark.parametrize('loader', LOADERS)
def test_the_batches_are_those_of_the_cpu(images, room, loader):
    expected, state = two_epochs(LOADERS[loader](CelebADataset(images)))
    dataset = CelebADataset(images)
    dataloader = LOADERS[loader](dataset)
    with devices.images_on(CPU, dataloader, None):
        assert 'read' in vars(dataset)
        found, its_state = two_epochs(dataloader)
    assert 'read' not in vars(dataset)
    assert len(found) == len(expected) > 1
    assert all(torch.equal(a, b) for a, b in zip(found, expected))
    assert torch.equal(its_state, state)


def test_every_value_of_a_pixel_is_that_of_the_division(images):
    dataset = CelebADataset(images, n_images=7)
    dataset.pixels = torch.arange(10 * IMAGE).remainder(256).to(torch.uint8).view(
        10, 3, 64, 64).numpy()
    assert torch.equal(devices.reader_on(CPU, dataset)([3, 0, 1]), dataset[[3, 0, 1]])


class Large(list):
    img_shape = 1024, 1024


def test_apples_gpu_gets_no_more_than_it_reads_rightly(room):
    largest = 2**31 // (3 * 2**20)
    assert devices.fits(Large(range(largest)), MPS)
    assert not devices.fits(Large(range(largest + 1)), MPS)
    assert devices.fits(Large(range(largest + 1)), CUDA)


def test_free_memory_is_what_the_device_says(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (5, 9))
    monkeypatch.setattr(torch.mps, 'recommended_max_memory', lambda: 100)
    monkeypatch.setattr(torch.mps, 'driver_allocated_memory', lambda: 30)
    assert [devices.free_memory(device) for device in (CUDA, MPS, CPU, META)] == [5, 70, 0, 0]


@pytest.mark.parametrize('free, is_there', [(0, False), (20 * IMAGE, False),
                                            (20 * IMAGE + 1, True)])
def test_nothing_is_copied_that_does_not_fit(images, room, free, is_there):
    room(free)
    loader = batches(CelebADataset(images), 4)
    with devices.images_on(META, loader):
        assert {batch.device for batch in loader} == {META if is_there else CPU}


class Noisy(CelebADataset):
    def read(self, indices):
        return super().read(indices) + 0.1


def test_datasets_of_a_readers_own_stay_as_they_are(images, room):
    for loader in ([torch.zeros(2, 3, 64, 64)], batches(Noisy(images), 4),
                   DataLoader(TensorDataset(torch.zeros(4, 3, 64, 64)), 2), None,
                   DataLoader(CelebADataset(images), 2, num_workers=1)):
        assert devices.dataset_of(loader) is None
        with devices.images_on(META, loader):
            assert loader is None or next(iter(loader))[0].device == CPU


def test_a_copy_to_cuda_is_pinned_and_not_waited_for():
    calls = []

    class Fake(SimpleNamespace):
        def pin_memory(self):
            calls.append('pinned')
            return self

        def to(self, device, **how):
            calls.append((device.type, how))
            return self

    for source, device in [(CPU, CUDA), (CUDA, CUDA), (CPU, MPS), (CPU, CPU)]:
        devices.moved(Fake(device=source), device)
    assert calls == ['pinned', ('cuda', {'non_blocking': True}),
                     ('cuda', {}), ('mps', {}), ('cpu', {})]


@pytest.mark.parametrize('mirror', [False, True])
def test_training_gives_the_same_weights(images, here, room, mirror):
    def train():
        torch.manual_seed(2)
        model, dataset = VAE((4, 8, 8), 8), CelebADataset(images)
        program.train('cpu', batches(Subset(dataset, range(8)), 4, mirror=mirror), model,
                      batches(Subset(dataset, [8, 9]), 2, shuffle=False), n_epochs=2)
        return model.state_dict()

    gathered = train()
    room(0)
    assert all(torch.equal(gathered[name], value) for name, value in train().items())


@pytest.mark.parametrize('optimizer', ['adam', 'muon'])
@pytest.mark.parametrize('free', [0, 2**40])
def test_no_step_fetches_a_value_from_the_device(images, room, optimizer, free):
    """The tensors of the device 'meta' have no values: whatever asks for one fails."""
    room(free)
    model = VAE().to(META, memory_format=torch.channels_last)
    settings = SimpleNamespace(optimizer=optimizer, lr=0.005, adam_betas=(0.9, 0.99),
                               lr_schedule='linear', warm_up=0.5)
    made = steps.make_optimizer(model, settings)
    for group in made.param_groups:
        group['fused'] = False                 # there is no such kernel for 'meta'
    loader, totals = batches(CelebADataset(images), 2, mirror=True), steps.Totals(META, 0)

    def count(*terms):
        totals.add(2, *terms)

    with devices.images_on(META, loader):
        on_meta = (steps.to_device(batch, META) for batch in loader)
        program.train_epoch(model.train(), on_meta, made, steps.make_schedule(made, 5, settings),
                            count, 'auto')
    assert totals.steps == 5
    with pytest.raises(RuntimeError, match='meta'):
        totals.average_loss()
