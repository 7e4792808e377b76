"""The baseline: the article's program, written out, which benchmarks and tests compare with."""
import os

import torch
from PIL import Image
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class BaselineDataset(Dataset):
    """Open, crop, resize and convert at every access."""

    def __init__(self, root, n_images):
        self.root = root
        self.names = sorted(name for name in os.listdir(root) if name.endswith('.jpg'))[:n_images]
        self.transform = transforms.Compose([transforms.CenterCrop(168),
                                             transforms.Resize((64, 64)),
                                             transforms.ToTensor()])

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        image = Image.open(os.path.join(self.root, self.names[index])).convert('RGB')
        return self.transform(image)


def baseline_loader(root, n_images, batch_size=16):
    """Shuffled batches of the first n_images of a folder, decoded each time by one process."""
    return DataLoader(BaselineDataset(root, n_images), batch_size, shuffle=True)


def baseline_epoch(model, optimizer, dataloader, kl_weight):
    """One epoch of the article's training loop; yields (loss, KL) of each step."""
    model.train()
    for x in dataloader:
        y, mean, logvar = model(x)
        recons_loss = mse_loss(y, x)
        kl_loss = torch.mean(-0.5 * torch.sum(1 + logvar - mean**2 - torch.exp(logvar), 1), 0)
        loss = recons_loss + kl_loss * kl_weight
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.detach(), kl_loss.detach()
