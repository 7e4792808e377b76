"""--crop face: the largest face in a picture, turned and cut as CelebA's are. Needs OpenCV 4.

Where CelebA has a face was found by the same detectors, over 400 of its images (every second one
from 007201 on, 178 x 218): the face in 387, its box at (36, 71) and 105 wide (the middle half
within 7, 6 and 12 pixels); one eye on either side in 313, at (67.9, 111.8) and (107.8, 111.9)
(the middle half within 3.3 pixels across and 1.6 down). So the eyes decide where there are two,
else the box. Where there are none, the picture is looked at again leaning to either side: of 50
faces, enlarged six times and leaning by 20 degrees, 45 have eyes then, and eyes and mouth come to
lie within 4 pixels of CelebA's in half of them.
"""
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from dldemos.VAE.support.errors import UserError

SIZE = (178, 218)
EYES = np.array([[67.9, 111.8], [107.8, 111.9]])      # the picture's left one, its right one
BOX = (36, 71, 105)                                   # left, top, width
SEEN = 640                # pixels: longer side in which a face is looked for
SEEN_EYES = 240           # pixels: width of a face in which eyes are looked for
ANGLES = (0, 25, -25)     # degrees that a picture is turned by until eyes are found
APART = (0.27, 0.52)      # of the face's width, that eyes may be; CelebA's are 0.38
LEAN = 0.6                # slope of the line through the eyes, at most

of_thread = threading.local()                         # a detector serves one thread at a time


def celeba_like(image):
    """The largest face of an RGB image of any size, as CelebA would have it: (178, 218).

    Raises:
        ValueError: no face is found.
        UserError: there is no OpenCV, or none with its detectors.
    """
    import_cv2()
    only_boxes = []
    for angle in ANGLES:
        turned = image if not angle else image.rotate(
            angle, Image.Resampling.BILINEAR, expand=True)
        box = find_face(turned)
        if box is None:
            continue
        eyes = find_eyes(turned, *box)
        if eyes is not None:
            return aligned(turned, eyes, EYES)
        only_boxes.append((turned, box))
    if not only_boxes:
        raise ValueError('no face is found in it')
    turned, (x, y, width) = only_boxes[0]
    left, top, celebas_width = BOX
    return aligned(turned, np.array([[x, y], [x + width, y]]),
                 np.array([[left, top], [left + celebas_width, top]]))


def find_face(image):
    """(left, top, width) of the largest face, or None."""
    shrunk, factor = within(image, SEEN)
    boxes = detect('frontalface_default', grey(shrunk), least=max(20, min(shrunk.size) // 12))
    return max(boxes, key=lambda box: box[2])[:3] * factor if len(boxes) else None


def find_eyes(image, x, y, width):
    """The centres (2, 2) of the eyes of a face, or None where there are no two that may be."""
    left, top = max(0, int(x)), max(0, int(y))
    upper = image.crop((left, top, min(image.width, int(x + width)),
                        min(image.height, int(y + 0.62 * width))))
    scale = SEEN_EYES / width
    upper = upper.resize([max(1, round(side * scale)) for side in upper.size])
    found = detect('eye', grey(upper), least=SEEN_EYES // 8)
    centres = [np.array([left + (ex + ew / 2) / scale, top + (ey + eh / 2) / scale])
               for ex, ey, ew, eh in found]
    celebas = 0.38 * width * np.array([1, 0])
    pairs = [(a, b) for a in centres for b in centres if may_be_eyes(b - a, width)]
    return np.array(min(pairs, key=lambda pair: np.abs(pair[1] - pair[0] - celebas).sum())
                    ) if pairs else None


def may_be_eyes(apart, width):
    across, down = apart
    return (across > 0 and abs(down) < LEAN * across
            and APART[0] < np.hypot(across, down) / width < APART[1])


def aligned(image, points, to):
    """The image moved, turned and scaled so that two points come to lie at others, in SIZE."""
    cv2 = import_cv2()
    (a, b), (c, d) = (complex(*p) for p in points), (complex(*p) for p in to)
    shrink = max(1, int(abs((b - a) / (d - c))))       # or fine detail would turn to noise
    if shrink > 1:
        image = image.reduce(shrink)
        a, b = (p / shrink for p in (a, b))
    turn = (d - c) / (b - a)
    shift = c - turn * a
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    pixels = cv2.warpAffine(np.asarray(image), matrix, SIZE, flags=cv2.INTER_LINEAR,
                            borderMode=cv2.BORDER_REPLICATE)     # as CelebA's own edges are
    return Image.fromarray(pixels)


def within(image, side):
    """(the image with its longer side at most `side`, how many times it was as large)."""
    factor = max(1, max(image.size) / side)
    return image.resize([max(1, round(length / factor)) for length in image.size]), factor


def grey(image):
    return np.asarray(image.convert('L'))


def detect(name, pixels, least):
    """Boxes (left, top, width, height) of what a detector sees in a grey image."""
    detectors = of_thread.__dict__.setdefault('detectors', {})
    if name not in detectors:
        cv2 = import_cv2()
        path = Path(cv2.data.haarcascades) / f'haarcascade_{name}.xml'
        detectors[name] = cv2.CascadeClassifier(str(path))
    return np.asarray(detectors[name].detectMultiScale(
        pixels, scaleFactor=1.1, minNeighbors=5, minSize=(least, least)))


def import_cv2():
    """OpenCV.

    Raises:
        UserError: it is not installed, or a version without these detectors.
    """
    try:
        import cv2
        if not Path(cv2.data.haarcascades, 'haarcascade_frontalface_default.xml').exists():
            raise ImportError('no detector of faces in it')
        cv2.CascadeClassifier                             # noqa: B018  OpenCV 5 has it no more
        return cv2
    except (ImportError, AttributeError) as error:
        raise UserError(f'--crop face needs OpenCV 4 ({error}): pip install '
                        f'"opencv-python-headless<5", or take --crop auto') from error
