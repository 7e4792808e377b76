"""Faces to train on where CelebA is absent: seeded portraits, drawn with Pillow.

    python -m dldemos.VAE.images.synthetic

draws 4,000 of them into data/sample_faces/. They have the size and the alignment of CelebA
(178 x 218 pixels, eyes near (70, 112) and (108, 112)), its file names and its attribute list,
so that they take the very same way through the loader.

What a short training shall show must change the squared error of 64 x 64 pixels by more than it
costs in KL. So frames are wide, a smile is a laugh or absent, and what is beside the point (pose,
light, backdrop) varies little.
"""
import glob
import hashlib
import math
import os
import random
import shutil
import subprocess
import sys
import threading
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

import PIL
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from tqdm import tqdm

from dldemos.VAE.support.errors import exit_status
from dldemos.VAE.support.files import atomic_write

WIDTH, HEIGHT = 178, 218
SCALE = 2                    # drawn at twice the size, then shrunk: soft edges
VERSION = 2                  # of the drawing: another number leaves unfinished folders aside
LIST_NAME = 'list_attr_sample_faces.txt'
FACES_EACH = 500             # drawn in 2 s by a process that takes 0.1 s to start
HELPER = ('import sys; sys.path[:] = sys.argv[4:]; '
          'from dldemos.VAE.images.synthetic import help_drawing; help_drawing(*sys.argv[1:4])')

SKIN = [(255, 226, 205), (246, 206, 176), (228, 180, 142), (200, 146, 106), (156, 104, 72),
        (108, 70, 50), (78, 50, 38)]
HAIR = {'black': (38, 32, 36), 'brown': (98, 62, 40), 'blond': (224, 184, 108),
        'red': (168, 78, 42), 'grey': (168, 168, 172)}
IRIS = [(72, 46, 30), (104, 70, 38), (70, 104, 66), (76, 116, 156), (110, 124, 132)]
WOMEN_CUTS = ('bob', 'long', 'long', 'wavy', 'wavy', 'bun', 'fringe', 'curly', 'short')
MEN_CUTS = ('buzz', 'short', 'short', 'side', 'side', 'quiff', 'curly', 'fringe', 'bald')
LONG_CUTS = ('bob', 'long', 'wavy', 'fringe')

ATTRIBUTES = ('Bald', 'Bangs', 'Black_Hair', 'Blond_Hair', 'Brown_Hair', 'Bushy_Eyebrows',
              'Eyeglasses', 'Goatee', 'Gray_Hair', 'Male', 'Mouth_Slightly_Open', 'Mustache',
              'Narrow_Eyes', 'No_Beard', 'Pale_Skin', 'Rosy_Cheeks', 'Smiling',
              'Wavy_Hair', 'Wearing_Lipstick', 'Young')


def random_factors(rng):
    """All that makes up one face, from a random.Random: numbers mostly in [0, 1], and kinds."""
    man = rng.random() < 0.5
    age = rng.random()
    hair = rng.choices(('black', 'brown', 'blond', 'red', 'grey'), (30, 30, 22, 10, 8))[0]
    if age > 0.75 and rng.random() < 0.6:
        hair = 'grey'
    beard = 'none'
    if man:
        beard = rng.choices(('none', 'stubble', 'moustache', 'goatee', 'full'),
                            (50, 12, 12, 12, 14))[0]
    smiles = rng.random() < 0.5
    mood = rng.uniform(0.8, 1) if smiles else rng.uniform(-0.7, 0.1)
    opens = rng.random() < (0.95 if smiles else 0.1)
    return {
        'man': man, 'age': age, 'skin': rng.random() ** 1.3, 'undertone': rng.uniform(-1, 1),
        'hair': hair, 'hair_shade': rng.uniform(-1, 1),
        'cut': rng.choice(MEN_CUTS if man else WOMEN_CUTS), 'parting': rng.uniform(-1, 1),
        'volume': rng.random(), 'width': rng.random(), 'jaw': rng.random() * 0.6 + 0.4 * man,
        'chin': rng.random(), 'eye_size': rng.random() + 0.25 * (not man),
        'eye_open': rng.random(), 'iris': rng.randrange(len(IRIS)),
        'gaze': rng.uniform(-1, 1), 'brow_height': rng.random(), 'brow_tilt': rng.uniform(-1, 1),
        'brow_width': rng.random() * 0.7 + 0.3 * man, 'nose': rng.random(), 'mood': mood,
        'mouth_open': rng.uniform(0.8, 1) if opens else 0.0,
        'lips': rng.random() * 0.6 + 0.4 * (not man),
        'lipstick': rng.random() if not man and rng.random() < 0.5 else 0.0,
        'blush': rng.random() if rng.random() < 0.4 else 0.0, 'beard': beard,
        'glasses': rng.choices(('none', 'round', 'square', 'sun'), (60, 16, 15, 9))[0],
        'frame': rng.random(), 'tilt': rng.gauss(0, 1.2), 'yaw': rng.uniform(-1, 1),
        'shift': (rng.gauss(0, 0.6), rng.gauss(0, 0.6)), 'light': rng.uniform(-1, 1),
        'light_strength': rng.random(), 'background': rng.random(),
        'background_light': rng.random(),
        'clothes': rng.random(), 'clothes_light': rng.random(),
        'neckline': rng.choice(('round', 'v', 'collar')),
    }


def attributes(factors):
    """{name: holds} for ATTRIBUTES, in the sense that CelebA gives them."""
    f = factors
    bald = f['cut'] == 'bald'
    return dict(zip(ATTRIBUTES, (
        bald, f['cut'] == 'fringe', f['hair'] == 'black' and not bald,
        f['hair'] == 'blond' and not bald, f['hair'] == 'brown' and not bald,
        f['brow_width'] > 0.8, f['glasses'] != 'none', f['beard'] == 'goatee',
        f['hair'] == 'grey' and not bald, f['man'], f['mouth_open'] > 0.15,
        f['beard'] in ('moustache', 'full', 'goatee'), f['eye_open'] < 0.25, f['beard'] == 'none',
        f['skin'] < 0.2, f['blush'] > 0.4, f['mood'] > 0.25,
        f['cut'] in ('wavy', 'curly'), f['lipstick'] > 0.3, f['age'] < 0.6)))


# Colours are (r, g, b) of 0..255

def mix(a, b, t):
    return tuple(round(x + (y - x) * t) for x, y in zip(a, b))


def darker(colour, t):
    return mix(colour, (30, 16, 24), t)


def lighter(colour, t):
    return mix(colour, (255, 246, 236), t)


def hue(angle, colourfulness, lightness):
    """A muted colour: angle in turns, the others in [0, 1]."""
    level = 60 + 170 * lightness
    spread = 75 * colourfulness
    return tuple(round(min(255, max(0, level + spread * math.cos(2 * math.pi * (angle - k / 3)))))
                 for k in range(3))


def skin_colour(factors):
    position = factors['skin'] * (len(SKIN) - 1)
    i = min(int(position), len(SKIN) - 2)
    r, g, b = mix(SKIN[i], SKIN[i + 1], position - i)
    return r, g, min(255, max(0, round(b - 8 * factors['undertone'])))


def hair_colour(factors):
    colour, shade = HAIR[factors['hair']], factors['hair_shade']
    return lighter(colour, 0.25 * shade) if shade > 0 else darker(colour, -0.3 * shade)


CIRCLE = [(math.cos(a * math.pi / 12), math.sin(a * math.pi / 12)) for a in range(24)]


class Pen:
    """Draws shapes in the face's own coordinates: pixels of the small picture, the middle of
    the face at (0, 0), tilted and shifted by the pose."""

    def __init__(self, image, factors):
        self.image, self.draw = image, ImageDraw.Draw(image)
        angle = math.radians(factors['tilt'])
        self.cos, self.sin = math.cos(angle), math.sin(angle)
        self.x, self.y = 89 + factors['shift'][0], 122 + factors['shift'][1]

    def place(self, points):
        """Face coordinates -> pixels of the large picture."""
        left, top, cos, sin = self.x, self.y + 50, self.cos, self.sin
        return [((left + x * cos - (y - 50) * sin) * SCALE,
                 (top + x * sin + (y - 50) * cos) * SCALE) for x, y in points]

    def blob(self, points, colour):
        """A closed smooth shape through the points."""
        self.draw.polygon(self.place(smooth(points, closed=True)), fill=colour)

    def glaze(self, points, colour, opacity):
        """A blob through which the picture shows."""
        draw = ImageDraw.Draw(self.image, 'RGBA')
        draw.polygon(self.place(smooth(points, closed=True)), fill=(*colour, round(255 * opacity)))

    def stroke(self, points, colour, width):
        """A smooth line through the points, of a width in small pixels."""
        placed = self.place(smooth(points, closed=False))
        self.draw.line(placed, fill=colour, width=max(1, round(width * SCALE)), joint='curve')
        radius = width * SCALE / 2
        for x, y in (placed[0], placed[-1]):
            self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def oval(self, x, y, rx, ry, colour):
        self.draw.polygon(self.place([(x + rx * cos, y + ry * sin) for cos, sin in CIRCLE]),
                          fill=colour)


def spline_weights(t):
    """Of four points, at t in [0, 1] between the second and the third: Catmull-Rom's."""
    return ((t * (2 - t) - 1) * t / 2, (t * t * (3 * t - 5) + 2) / 2,
            t * (t * (4 - 3 * t) + 1) / 2, (t - 1) * t * t / 2)


WEIGHTS = [spline_weights(k / 6) for k in range(6)]


def smooth(points, closed):
    """A Catmull-Rom spline through the points, as many short lines."""
    n = len(points)
    if closed:
        around = [points[-1], *points, points[0], points[1]]
    else:
        around = [points[0], *points, points[-1]]
    curve = []
    for i in range(n if closed else n - 1):
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = around[i:i + 4]
        curve += [(ax * u + bx * v + cx * w + dx * z, ay * u + by * v + cy * w + dy * z)
                  for u, v, w, z in WEIGHTS]
    if not closed:
        curve.append(points[-1])
    return curve


def mirrored(right):
    """Points of the right half, from top to bottom -> both halves, going round."""
    return right + [(-x, y) for x, y in reversed(right) if x > 0]


def draw_face(factors):
    """One portrait, 178 x 218 RGB; the same factors, the same picture."""
    f = factors
    image = background(f)
    pen = Pen(image, f)
    skin, hair = skin_colour(f), hair_colour(f)
    half = 37 + 6 * f['width']                     # half the width of the face
    turn = 2.5 * f['yaw']                          # how far the features move to one side
    back_hair(pen, f, half, darker(hair, 0.22))
    body(pen, f, skin)
    head(pen, f, half, skin)
    if f['beard'] != 'none':
        beard(pen, f, half, turn, skin, mix(hair, skin, 0.12))
    eyes(pen, f, turn, skin)
    nose(pen, f, turn, skin)
    mouth(pen, f, turn, skin)
    brows(pen, f, turn, darker(hair, 0.25) if f['hair'] != 'blond' else darker(hair, 0.4))
    front_hair(pen, f, half, hair)
    if f['glasses'] != 'none':
        glasses(pen, f, half, turn)
    return lit(image.reduce(SCALE), f, pen)


def background(f):
    """A backdrop between blue and sand: of more colours a short training keeps these two."""
    top = mix((112, 160, 212), (224, 178, 136), f['background'])
    top = lighter(top, 0.4 * f['background_light'])
    bottom = darker(top, 0.25)
    strip = Image.new('RGB', (1, 2))
    strip.putpixel((0, 0), top)
    strip.putpixel((0, 1), bottom)
    return strip.resize((WIDTH * SCALE, HEIGHT * SCALE), Image.Resampling.BILINEAR,
                        box=(0, 0.5, 1, 1.5))


def body(pen, f, skin):
    """Shoulders, neck, the shadow of the chin and the neckline."""
    clothes = hue(f['clothes'], 0.7, 0.15 + 0.5 * f['clothes_light'])
    wide = 66 + 12 * f['man']
    pen.blob(mirrored([(0, 68), (22, 70), (44, 76), (wide - 8, 84), (wide, 104), (wide, 130),
                       (0, 132)]), clothes)
    neck = 19 + 5 * f['man']
    shade = darker(skin, 0.24)
    if f['neckline'] == 'v':
        pen.blob([(-neck - 4, 70), (0, 72), (neck + 4, 70), (6, 92), (0, 100), (-6, 92)], skin)
    else:
        pen.blob([(-neck - 5, 70), (0, 68), (neck + 5, 70), (neck - 4, 80), (0, 84),
                  (-neck + 4, 80)], skin)
    pen.draw.polygon(pen.place([(-neck, 30), (neck, 30), (neck, 66), (neck + 5, 72),
                                (-neck - 5, 72), (-neck, 66)]), fill=skin)
    pen.blob([(-neck, 34), (neck, 34), (neck, 60), (6 * f['light'], 68), (-neck, 60)], shade)
    if f['neckline'] == 'collar':
        edge = lighter(clothes, 0.3)
        for side in (-1, 1):
            pen.draw.polygon(pen.place([(side * (neck + 6), 66), (side * 2, 84),
                                        (side * 16, 94), (side * (neck + 13), 76)]), fill=edge)


def head(pen, f, half, skin):
    """Ears and the face's outline."""
    for side in (-1, 1):
        x = side * (half + 1) + 2.5 * f['yaw']
        pen.oval(x, 2, 6.5, 11, darker(skin, 0.08))
        pen.oval(x + side, 3, 3.5, 7, darker(skin, 0.22))
    pen.blob(outline(f, half), skin)
    if f['age'] > 0.6:
        line = darker(skin, 0.16)
        for y in (-34, -41):
            pen.stroke([(-18, y), (0, y - 2), (18, y)], line, 0.9)


def outline(f, half):
    jaw = half * (0.74 + 0.14 * f['jaw'])
    chin = 9 + 8 * f['jaw']
    low = lowest(f)
    return mirrored([(0, -64), (half * 0.62, -58), (half * 0.95, -36), (half, -6), (half - 1, 14),
                     (jaw, 34), (chin + 6, low - 5), (chin * 0.5, low), (0, low + 0.5)])


def lowest(f):
    """The tip of the chin; an open mouth lowers it."""
    return 53 + 6 * f['chin'] + (4 + 3 * max(0, f['mood'])) * f['mouth_open']


def eye_places(f, turn):
    """(side, x, half width) of both eyes; the one that is turned away is narrower."""
    for side in (-1, 1):
        yield side, side * 19 + turn, (8.2 + 1.8 * f['eye_size']) * (1 - 0.07 * side * f['yaw'])


def eyes(pen, f, turn, skin):
    """White, iris, pupil and light, and the lids that cover a part of them."""
    y, height = -10, (2.8 + 2.2 * f['eye_open']) * (0.9 + 0.2 * f['eye_size'])
    height *= 1 - 0.3 * max(0, f['mood'])
    iris = IRIS[f['iris']]
    lash = darker(skin, 0.85)
    for side, x, wide in eye_places(f, turn):
        upper = [(x - wide, y + 1), (x - wide * 0.45, y - height * 0.85), (x, y - height),
                 (x + wide * 0.45, y - height * 0.85), (x + wide, y + 0.5)]
        lower = [(x + wide, y + 0.5), (x + wide * 0.4, y + height * 0.75),
                 (x - wide * 0.4, y + height * 0.75), (x - wide, y + 1)]
        pen.blob([(x - wide - 2, y - 7), (x, y - 10), (x + wide + 2, y - 7), (x + wide + 2, y + 4),
                  (x, y + 7), (x - wide - 2, y + 4)], darker(skin, 0.07))
        pen.draw.polygon(pen.place(smooth(upper, False) + smooth(lower, False)),
                         fill=(246, 243, 240))
        eye_x = x + 2.2 * f['gaze'] + 0.5 * turn * 0.3
        size = 4.1 + 0.5 * f['eye_size']
        pen.oval(eye_x, y - 0.3, size, size, darker(iris, 0.35))
        pen.oval(eye_x, y - 0.3, size - 0.8, size - 0.8, iris)
        pen.oval(eye_x, y - 0.3, 1.9, 1.9, (20, 16, 18))
        pen.oval(eye_x + 1.3, y - 1.8, 1.0, 1.0, (255, 255, 255))
        lid = darker(skin, 0.1 if f['man'] else 0.1 + 0.25 * f['lipstick'])
        over = [(x + wide + 1, y - 1.5), (x + wide * 0.5, y - 7.2), (x, y - 8.5),
                (x - wide * 0.5, y - 7.2), (x - wide - 1, y - 1.5)]
        pen.draw.polygon(pen.place(smooth(upper, False) + smooth(over, False)), fill=lid)
        under = [(x - wide, y + 3), (x, y + 8), (x + wide, y + 3)]
        pen.draw.polygon(pen.place(smooth(lower, False) + smooth(under, False)),
                         fill=darker(skin, 0.05))
        pen.stroke(upper, lash, 1.3 if f['man'] else 1.9)
        if not f['man']:
            pen.stroke([upper[-2] if side > 0 else upper[1],
                        (x + side * (wide + 2), y - 1.5)], lash, 1.5)
        pen.stroke([(x + (wide - 1), y + 1.5), (x, y + height * 0.9), (x - wide + 1, y + 1.5)],
                   darker(skin, 0.3), 0.6)
        if f['age'] > 0.6:
            pen.stroke([(x - wide + 2, y + 9), (x, y + 11), (x + wide - 3, y + 9)],
                       darker(skin, 0.17), 0.9)


def brows(pen, f, turn, colour):
    thick = 1.6 + 2.0 * f['brow_width']
    for side, x, wide in eye_places(f, turn):
        y = -22.5 - 2 * f['brow_height'] - 5.5 * f['mood']
        inner, outer = y + 1.8 * f['brow_tilt'], y - 0.6 * f['brow_tilt'] + 2
        pen.blob([(x - side * (wide + 1), inner + thick), (x - side * (wide + 1), inner),
                  (x + side * 2, y - 2.4), (x + side * (wide + 3), outer + 0.5),
                  (x + side * 2, y - 2.4 + thick)], colour)


def nose(pen, f, turn, skin):
    """A shadow at one side of the bridge, the wings, the nostrils and a light on the tip."""
    wide = 6.5 + 4 * f['nose']
    x = turn * 1.5
    shaded = -1 if f['light'] > 0 else 1
    pen.blob([(shaded * 2 + turn, -14), (shaded * 4.5 + x, 4), (shaded * wide + x, 17),
              (shaded * 3 + x, 20), (shaded * 2.2 + x, 4)], darker(skin, 0.13))
    pen.blob([(x - wide, 16), (x - 4, 13), (x + 4, 13), (x + wide, 16), (x + wide - 2, 20),
              (x, 22), (x - wide + 2, 20)], darker(skin, 0.1))
    pen.oval(x, 13.5, wide * 0.62, 6, lighter(skin, 0.07))
    for side in (-1, 1):
        pen.oval(x + side * wide * 0.45, 19.5, 1.9, 1.2, darker(skin, 0.5))
    if f['age'] > 0.6 or f['mood'] > 0.6:
        for side in (-1, 1):
            pen.stroke([(x + side * (wide + 2), 17), (turn + side * 19, 25),
                        (turn + side * 20, 31)], darker(skin, 0.18), 1)


def mouth(pen, f, turn, skin):
    """From sad to laughing: lips, and teeth where it is open."""
    smile = max(0, f['mood'])
    x, y = turn * 1.2, 32 - 3 * smile
    wide = 11 + 12.5 * smile + 1.5 * f['width']
    rise = 5.5 * f['mood']                         # how far the corners go up
    gap = (7 + 13 * smile) * f['mouth_open']
    full = (2.0 + 2.2 * f['lips']) * (1 - 0.3 * smile)
    natural = mix(skin, (176, 62, 70), 0.6)
    colour = mix(natural, (186, 28, 58), 0.9 * f['lipstick'])

    def curve(depth, wide=wide):
        """From the left corner to the right one, `depth` below where the lips meet."""
        return [(x + wide * u, y + rise * (0.25 - 1.25 * u * u) + depth * math.sqrt(1 - u * u))
                for u in (-1, -0.85, -0.5, 0, 0.5, 0.85, 1)]

    def between(above, below, fill):
        pen.draw.polygon(pen.place(smooth(above, False) + smooth(below[::-1], False)), fill=fill)

    middle = curve(0)
    upper = [middle[0], (x - 5, y - full - 0.1 * rise), (x, y - full + 0.9),
             (x + 5, y - full - 0.1 * rise), middle[-1]]
    between(upper, curve(gap + 1.35 * full), colour)
    if gap > 0.8:
        between(middle, curve(gap), (52, 8, 18))
        between(curve(0, wide * 0.94), curve(min(gap * 0.45, 7), wide * 0.94), (250, 248, 244))
    between(upper, middle, darker(colour, 0.14))
    if gap <= 0.8:
        pen.stroke(middle, darker(colour, 0.5), 0.9)
    if f['beard'] in ('none', 'stubble', 'moustache'):
        under = y + gap + full * 1.4 + 4.5 + 0.4 * rise
        pen.stroke([(x - 6, under), (x + 6, under)], darker(skin, 0.1), 1.2)


def beard(pen, f, half, turn, skin, colour):
    x, y = turn * 1.2, 32
    if f['beard'] == 'stubble':
        colour = mix(skin, colour, 0.3)
    if f['beard'] in ('stubble', 'full'):
        jaw, low = outline(f, half), lowest(f)
        right = [(px + 0.6, py) for px, py in jaw[4:9]]
        deep = 5 * (f['beard'] == 'full')
        right[-3:] = [(px, py + deep) for px, py in right[-3:]]
        outer = right + [(-px, py) for px, py in reversed(right) if px > 0.7]
        inner = [(-half + 5, 16), (-22 + x, 26), (-14 + x, 23), (x, 24), (14 + x, 23),
                 (22 + x, 26), (half - 5, 16)]
        pen.draw.polygon(pen.place(smooth(outer, False) + smooth(inner, False)), fill=colour)
        pen.oval(x, (y + low) / 2 - 4, 4, 1.6, mix(colour, skin, 0.35))
    if f['beard'] == 'goatee':
        pen.blob([(x - 15, 30), (x - 9, 25), (x, 26), (x + 9, 25), (x + 15, 30), (x + 14, 48),
                  (x + 6, lowest(f) + 7), (x - 6, lowest(f) + 7), (x - 14, 48)], colour)
        pen.blob([(x - 9, 30), (x, 29), (x + 9, 30), (x + 9, 42), (x, 45), (x - 9, 42)], skin)
    if f['beard'] in ('moustache', 'full', 'goatee'):
        top = 24 - 2.5 * max(0, f['mood'])             # a smile lifts it
        pen.blob([(x, top), (x + 9, top + 0.5), (x + 18, top + 7), (x + 9, top + 5.5),
                  (x, top + 5), (x - 9, top + 5.5), (x - 18, top + 7), (x - 9, top + 0.5)],
                 darker(colour, 0.1))


def back_hair(pen, f, half, colour):
    """What hangs or stands behind the head."""
    wide = half + 8 + 6 * f['volume']
    if f['cut'] in ('long', 'wavy'):
        low = 78 + 22 * f['volume']
        wave = 6 if f['cut'] == 'wavy' else 0
        pen.blob(mirrored([(0, -78), (wide * 0.7, -66), (wide, -30), (wide - 2 + wave, 0),
                           (wide + 4 - wave, 24), (wide + 3 + wave, 50), (wide - 2, low),
                           (wide * 0.5, low + 6), (0, low)]), colour)
    elif f['cut'] in ('bob', 'fringe') and not (f['cut'] == 'fringe' and f['man']):
        pen.blob(mirrored([(0, -76), (wide * 0.7, -66), (wide, -30), (wide + 3, 10),
                           (wide, 40 + 12 * f['volume']), (wide * 0.6, 46), (0, 46)]), colour)
    elif f['cut'] == 'curly':
        for k in range(22):
            angle = math.pi * (k / 21 * 1.5 + 0.75)
            radius = 9 + 4 * f['volume'] + 2 * math.sin(7 * k)
            pen.oval((half + 3 + 6 * f['volume']) * math.cos(angle),
                     -26 + (44 + 8 * f['volume']) * math.sin(angle), radius, radius, colour)
    elif f['cut'] == 'bun':
        size = 15 + 6 * f['volume']
        pen.oval(4 * f['parting'], -76, size, size, colour)


def front_hair(pen, f, half, colour):
    """What frames the forehead: an outer line over the skull, the hairline back."""
    cut, side = f['cut'], math.copysign(1, f['parting'])
    if cut == 'bald':
        pen.oval(-12 * f['light'], -46, 11, 5, lighter(skin_colour(f), 0.22))
        return
    over = {'buzz': 2, 'short': 6, 'side': 8, 'quiff': 14, 'bun': 5}.get(cut, 8) + 4 * f['volume']
    if cut == 'buzz':
        over = 2
        colour = mix(colour, skin_colour(f), 0.3)
    ear = 0 if cut in ('buzz', 'short', 'side', 'quiff', 'curly') or f['man'] else 12
    top = -64 - over
    outer = [(-half - 1.5, ear), (-half - 2 - over * 0.25, -24), (-half * 0.82, -52 - over * 0.4),
             (-half * 0.42, top + 3), (side * half * 0.1, top), (half * 0.42, top + 3),
             (half * 0.82, -52 - over * 0.4), (half + 2 + over * 0.25, -24), (half + 1.5, ear)]
    if cut == 'quiff':
        outer[4] = (side * half * 0.3, top - 4)
    line = hairline(f, half, side, ear)
    pen.draw.polygon(pen.place(smooth(outer, False) + smooth(line, False)), fill=colour)
    if cut == 'curly':
        for k in range(13):
            angle = math.pi * (1.06 + 0.88 * k / 12)
            size = 8 + 2.5 * math.sin(5 * k)
            pen.oval((half - 2) * math.cos(angle), -18 + 40 * math.sin(angle), size, size,
                     mix(colour, darker(colour, 0.2), k % 2))
    if cut in ('long', 'wavy', 'bob') or (cut == 'fringe' and not f['man']):
        locks(pen, f, half, colour)
    if cut != 'buzz':
        gloss = lighter(colour, 0.22)
        place = -side * half * 0.4
        pen.stroke([(place - 14, top + 15), (place, top + 10), (place + 14, top + 13)], gloss, 2.2)
        pen.stroke([(place - 8, top + 21), (place + 2, top + 17), (place + 12, top + 19)],
                   gloss, 1.4)


def hairline(f, half, side, ear):
    """From the right ear over the forehead to the left one."""
    cut = f['cut']
    temple = half - 4
    if cut == 'fringe':
        y = -26 - 5 * f['volume']
        inner = [(temple, -20), (temple - 6, y), (12, y + 3), (0, y + 1), (-12, y + 3),
                 (-temple + 6, y), (-temple, -20)]
    elif cut in ('side', 'long', 'wavy', 'bob', 'bun'):
        part = side * (6 + 12 * abs(f['parting']))
        inner = [(temple, -16), (temple - 5, -34), ((temple + part) / 2, -46), (part, -53),
                 ((-temple + part) / 2, -46), (-temple + 5, -34), (-temple, -16)]
    else:
        y = -48 - 3 * f['age'] * f['man']
        inner = [(temple, -16), (temple - 3, -36), (temple * 0.55, y - 1), (0, y + 3),
                 (-temple * 0.55, y - 1), (-temple + 3, -36), (-temple, -16)]
    return [(half - 2.5, ear), *inner, (-half + 2.5, ear)]


def locks(pen, f, half, colour):
    """Hair that falls along both sides of the face."""
    low = {'bob': 40, 'fringe': 38}.get(f['cut'], 74) + 12 * f['volume']
    wave = 5 if f['cut'] == 'wavy' else 0
    for side in (-1, 1):
        pen.blob([(side * x, y) for x, y in (
            (half - 8, -44), (half + 5, -34), (half + 9 + wave, 0), (half + 8 - wave, 22),
            (half + 10 + wave, low - 12), (half + 2, low), (half - 7 + wave, low - 8),
            (half - 4 - wave, 26), (half - 2 + wave * 0.4, 4), (half - 4, -22))], colour)
        pen.stroke([(side * (half + 3), -26), (side * (half + 4 + wave), 2),
                    (side * (half + 2 - wave * 0.5), 26), (side * (half + 4), low - 12)],
                   darker(colour, 0.22), 1.2)


def glasses(pen, f, half, turn):
    """Wide dark frames: thin ones would vanish in 64 x 64 pixels. The lenses shine a little."""
    frame = mix((24, 22, 28), hue(f['frame'], 0.8, 0.4), 0.4 * f['frame'])
    wide, high = (15, 14) if f['glasses'] == 'round' else (15.5, 12)
    for side, x, _ in eye_places(f, turn):
        y = -9
        if f['glasses'] == 'round':
            points = [(x + wide * math.cos(a * math.pi / 8), y + high * math.sin(a * math.pi / 8))
                      for a in range(16)]
        else:
            points = [(x - wide, y - high + 3), (x - wide + 3, y - high), (x + wide - 3, y - high),
                      (x + wide, y - high + 3), (x + wide - 1.5, y + high - 4),
                      (x + wide - 5, y + high), (x - wide + 5, y + high),
                      (x - wide + 1.5, y + high - 4)]
        if f['glasses'] != 'sun':
            pen.glaze(points, (214, 232, 244), 0.4)
        else:
            pen.blob(points, (34, 32, 40))
            pen.stroke([(x - 6, y - 4), (x, y - 6)], (96, 98, 110), 1.6)
        pen.stroke([*points, points[0]], frame, 4)
        pen.stroke([(x + side * wide, y - 4), (side * (half + 1) + turn * 0.5, y - 3)], frame, 3.4)
    pen.stroke([(turn - 5, -11), (turn, -13), (turn + 5, -11)], frame, 3.4)


def lit(image, f, pen):
    """Light from one side, and warm cheeks; soft, so made small and enlarged."""
    small = (WIDTH // 4, HEIGHT // 4)
    strength = 0.04 + 0.1 * f['light_strength']
    light = Image.new('L', (2, 1))
    left, right = (1 - strength * max(0, side * f['light']) for side in (1, -1))
    light.putpixel((0, 0), round(255 * left))
    light.putpixel((1, 0), round(255 * right))
    light = light.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box=(0.5, 0, 1.5, 1))
    image = ImageChops.multiply(image, Image.merge('RGB', [light] * 3))
    if f['blush'] > 0:
        mask = Image.new('L', small)
        draw = ImageDraw.Draw(mask)
        for x, y in pen.place([(-25 + 5 * f['yaw'], 13), (25 + 5 * f['yaw'], 13)]):
            x, y = x / (4 * SCALE), y / (4 * SCALE)
            draw.ellipse((x - 2, y - 1.4, x + 2, y + 1.4),
                         fill=round(110 * f['blush'] * (1 - 0.6 * f['skin'])))
        mask = mask.filter(ImageFilter.GaussianBlur(1.3)).resize(image.size,
                                                                 Image.Resampling.BICUBIC)
        image.paste((224, 82, 88), mask=mask)
    return image


def draw_sample_faces(folder='data/sample_faces', n_faces=4000, seed=0):
    """Draw `n_faces` portraits and their attribute list into `folder`, once.

    Face i depends on (seed, i) alone. The folder appears when all is drawn; until then the
    faces lie in unfinished_folder, from where a later call goes on. A folder that is
    there already is whole and stays as it is. Where there is much to draw, further processes
    help; they end with the call.

    Returns:
        The folder, as a Path.
    """
    folder = Path(folder)
    if folder.exists():
        return folder
    unfinished = unfinished_folder(folder, seed)
    unfinished.mkdir(parents=True, exist_ok=True)
    names = [f'{i:06}.jpg' for i in range(1, n_faces + 1)]
    try:
        n_missing = sum(not is_whole(unfinished / name) for name in names)
        with tqdm(total=n_faces, unit='face', disable=None, leave=False,
                  desc='drawing synthetic faces once') as bar, \
                helpers(count_helpers(n_missing), folder, n_faces, seed):
            for n_drawn, _ in enumerate(draw_missing(unfinished, n_faces, seed)):
                if not bar.disable and n_drawn % (n_faces // 200 + 1) == 0:
                    bar.update(len(set(names).intersection(os.listdir(unfinished))) - bar.n)
        factors = [face_factors(seed, i) for i in range(1, n_faces + 1)]
        with atomic_write(unfinished / LIST_NAME, 'w') as file:
            file.write(attribute_list(names, factors))
        unfinished.rename(folder)
        for path in set(folder.iterdir()) - {folder / name for name in (*names, LIST_NAME)}:
            path.unlink()                               # left behind by a stopped process
        for other in folder.parent.glob(f'{glob.escape(folder.name)}.unfinished.*'):
            shutil.rmtree(other)
    except OSError:
        if not folder.exists():
            raise
        shutil.rmtree(unfinished, ignore_errors=True)   # another process was the first to end
    return folder


def face_factors(seed, i):
    return random_factors(random.Random(f'{seed}/{i}'))


def draw_missing(unfinished, n_faces, seed):
    """Draw the faces that are not there yet, and yield after each.

    Processes that do so at once share the work: each has an order of its own, so that two
    seldom draw the same face.
    """
    unique = uuid.uuid4().hex                           # of this process, on whatever machine
    for i in random.Random().sample(range(1, n_faces + 1), n_faces):
        face = unfinished / f'{i:06}.jpg'
        if not is_whole(face):
            part = unfinished / f'{face.name}.{unique}.tmp'
            draw_face(face_factors(seed, i)).save(part, 'JPEG', quality=92)
            try:
                part.replace(face)
            except PermissionError:                     # Windows: two put one face there at once
                if not is_whole(face):
                    raise
            yield


def count_helpers(n_missing):
    """How many further processes to start: none if sys.executable is not known as a Python."""
    if 'python' not in Path(sys.executable or '').name.lower():
        return 0
    return max(0, min(os.cpu_count() or 1, n_missing // FACES_EACH) - 1)


@contextmanager
def helpers(n, folder, n_faces, seed):
    """While the block runs, `n` further processes draw too; what they leave is for this one.

    Not by multiprocessing: a fork does not get on with torch's threads, and what it spawns
    imports the user's script again.
    """
    arguments = (folder, n_faces, seed, *sys.path, Path(__file__).parents[3])
    environment = {'PILLOW_BLOCKS_MAX': '4', **os.environ}      # memory kept: few page faults
    processes = []
    try:
        with suppress(OSError, ValueError):             # one that cannot start is not missed
            for _ in range(n):
                processes.append(subprocess.Popen(
                    [sys.executable, '-c', HELPER, *map(str, arguments)],
                    stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    env=environment, creationflags=getattr(subprocess, 'CREATE_NO_WINDOW', 0)))
        yield
    finally:
        for process in processes:
            with process:                               # waits for its end
                process.kill()


def help_drawing(folder, n_faces, seed):
    """Draw until all faces are there, or the process that started this one is gone."""
    threading.Thread(target=exit_with_starter, daemon=True).start()
    for _ in draw_missing(unfinished_folder(Path(folder), seed), int(n_faces), seed):
        pass


def exit_with_starter():
    os.read(0, 1)                                       # stdin is a pipe that it holds open
    os._exit(1)


def is_whole(path):
    """Whether a face was drawn already; a power cut can leave an empty file."""
    return path.exists() and path.stat().st_size > 0


def unfinished_folder(folder, seed=0):
    """Where faces lie until all are drawn: a place for each seed and way of drawing."""
    origin = f'drawing {VERSION}, seed {seed}, Pillow {PIL.__version__}'
    digest = hashlib.sha256(origin.encode()).hexdigest()[:8]
    return folder.with_name(f'{folder.name}.unfinished.{digest}')


def attribute_list(names, factors):
    """The text of a file like CelebA's list_attr_celeba.txt."""
    lines = [str(len(names)), ' '.join(ATTRIBUTES)]
    for name, f in zip(names, factors):
        values = attributes(f).values()
        lines.append(name + ' ' + ' '.join(' 1' if holds else '-1' for holds in values))
    return '\n'.join(lines) + '\n'


def main():
    folder = draw_sample_faces()
    print(f'{len(list(folder.glob("*.jpg")))} faces in {folder}')


if __name__ == '__main__':
    sys.exit(exit_status(main))
