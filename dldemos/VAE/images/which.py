"""Which images: where they lie where none are named, and which of them are held out."""
from pathlib import Path

from torch.utils.data import Subset

from dldemos.VAE.images.lists import partition
from dldemos.VAE.support.errors import UserError

CELEBA_ROOT = 'data/celebA/img_align_celeba'
SAMPLE_FACES = 'data/sample_faces'
TEST = 2                                           # the number of CelebA's test split
CELEBA_SIZE, CELEBA_TEST_START = 202599, 182637    # its test split: 182638.jpg to the end


def find_celeba():
    """CelebA's folder or zip at the default place; None if it is not there."""
    places = (CELEBA_ROOT, CELEBA_ROOT + '.zip')
    return next((place for place in places if Path(place).exists()), None)


def find_images(root=None):
    """Where the images are: at `root` if it is given, else CelebA, else sample faces.

    Raises:
        UserError: there is nothing at the given root.
    """
    if root is not None:
        if not Path(root).exists():
            raise UserError(f'there is nothing at {root}: give a folder, a zip ... of images, or '
                            f'no --data_root at all to train on sample faces')
        return root
    celeba = find_celeba()
    if celeba is None:
        print(f'no CelebA in {CELEBA_ROOT} or {CELEBA_ROOT}.zip: sample faces in its place, which '
              f'the bundled model drew (data/README.md says where to get CelebA)')
        from dldemos.VAE.pretrained.sample_faces import draw_sample_faces
        return draw_sample_faces(SAMPLE_FACES)
    return celeba


def split(dataset, held_out):
    """The training and the held-out split of a dataset, two Subsets.

    Args:
        held_out: the share that is not trained on, the last ones by name in each folder. Where
            CelebA's partition is known, 0.1 is its test split instead, its validation split
            being trained on; so it is of the whole of CelebA without the list.
    """
    n, names = len(dataset), getattr(dataset, 'names', [''] * len(dataset))
    parts = None
    if held_out == 0.1 and hasattr(dataset, 'partition'):
        parts = dataset.partition or partition(dataset.root, names)
    if parts and 0 < parts.count(TEST) < n:
        chosen = {i for i in range(n) if parts[i] == TEST}
    elif n == CELEBA_SIZE and held_out == 0.1 and names[-1].endswith('202599.jpg'):
        chosen = set(range(CELEBA_TEST_START, n))
    else:
        chosen = set(last_of_folders(names, held_out))
    return (Subset(dataset, [i for i in range(n) if i not in chosen]),
            Subset(dataset, sorted(chosen)))


def last_of_folders(names, share):
    """Indices of the last names of each folder; of many small ones together, such a share."""
    folders = {}
    for i, name in enumerate(names):
        folders.setdefault(name.rpartition('/')[0], []).append(i)
    n_seen, chosen = 0, []
    for indices in folders.values():
        n_seen += len(indices)
        wanted = round(share * n_seen) - len(chosen)
        chosen += indices[max(0, len(indices) - wanted):]
    return chosen
