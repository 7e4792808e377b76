"""CelebA on disk -> batches of faces.

    python -m dldemos.VAE.load_celebA

prints the shape of one batch and saves its images in work_dirs/tmp.jpg.
"""
import sys
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from dldemos.VAE.draw_faces import draw_sample_faces
from dldemos.VAE.errors import UserError, exit_status
from dldemos.VAE.pictures import grid, save_picture

CELEBA_ROOT = 'data/celebA/img_align_celeba'
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp')


class CelebADataset(Dataset):
    """The images of a folder, in the order of their names.

    An item is a float tensor (3, *img_shape) in [0, 1]: the RGB image, its middle
    168 x 168 pixels, where the face is, resized to `img_shape`.

    Raises:
        UserError: `root` is no folder, or has no images.
    """

    def __init__(self, root, img_shape=(64, 64)):
        root = Path(root)
        if not root.is_dir():
            raise UserError(f'there is no folder {root}: give the folder of the images, or no '
                            f'--data_root at all to train on drawn faces')
        self.paths = sorted(path for path in root.iterdir()
                            if path.suffix.lower() in IMAGE_SUFFIXES)
        if not self.paths:
            raise UserError(f'there is no image in {root}: give the folder that holds the '
                            f'images themselves')
        self.transform = transforms.Compose([
            transforms.CenterCrop(168),
            transforms.Resize(img_shape),
            transforms.ToTensor(),
        ])

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert('RGB'))


def get_dataloader(root=CELEBA_ROOT, batch_size=16, img_shape=(64, 64), seed=0):
    """Shuffled batches (batch_size, 3, *img_shape) in [0, 1]; the same seed, the same order."""
    dataset = CelebADataset(root, img_shape)
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(dataset, batch_size, shuffle=True, generator=generator)


def find_images(root=None):
    """The folder to train on: `root` if one is given, else CelebA, else drawn faces.

    Raises:
        UserError: the given folder does not exist.
    """
    if root is not None:
        if not Path(root).exists():
            raise UserError(f'there is nothing at {root}: give the folder of the images, or no '
                            f'--data_root at all to train on drawn faces')
        return root
    if Path(CELEBA_ROOT).exists():
        return CELEBA_ROOT
    print(f'No CelebA in {CELEBA_ROOT}.')
    print('Training on faces that this program draws once, in data/sample_faces.')
    print('For photographs: data/README.md says where to get CelebA and where to put it.')
    return draw_sample_faces()


def main():
    dataloader = get_dataloader(find_images())
    batch = next(iter(dataloader))
    print(tuple(batch.shape))
    save_picture(grid(batch, columns=4), 'work_dirs/tmp.jpg')


if __name__ == '__main__':
    sys.exit(exit_status(main))
