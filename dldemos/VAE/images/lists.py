"""CelebA's lists, found and read in every layout: attributes of images, and its partition."""
import csv
import itertools
import os
from collections import deque
from pathlib import Path

import numpy as np

from dldemos.VAE.images.sources import (
    LIST_SUFFIXES,
    find_source,
    open_images,
    parquet_batches,
    parquet_names,
)
from dldemos.VAE.support.errors import UserError

ATTRIBUTES, PARTITION = 'list_attr', 'list_eval_partition'
FOLDERS = ('', 'Anno', 'Eval')             # the lists' own, on CelebA's page
SIGNS = {'1': True, 'true': True, '-1': False, '0': False, 'false': False}
PARTS = {'0': 0, '1': 1, '2': 2}


class NoList(UserError):
    """There is no list of attributes."""


def attribute_table(root):
    """The attributes of images: (where they stand, attributes, {image: a byte for each, 1 or 0}).

    They are Parquet's own columns, a list in the archive, or one inside the folder, beside
    it or one level up.

    Raises:
        NoList: there is none.
        UserError: it is not laid out as CelebA's.
    """
    source = find_source(root)
    if source.kind == 'parquet':
        header, values = parquet_attributes(source)
        if header:
            return root, header, values
    for place, text in itertools.chain(lists_inside(source), lists_near(root, ATTRIBUTES)):
        return place, *parse_attributes(text, place)
    columns = ', nor a column of an attribute' if source.kind == 'parquet' else ''
    raise NoList(f'there is no list_attr_celeba.txt (or .csv) in {root} or beside it{columns}: '
                 f'data/README.md says where to get it')


def partition(root, names):
    """CelebA's partition of images by a list inside their folder, beside it or one level up.

    Returns:
        For each 0 (training), 1 (validation) or 2 (test); None: there is no list of them all.
    """
    for place, text in lists_near(root, PARTITION):
        parts = look_up(parse_partition(text, place), names)
        if parts and None not in parts:
            return parts
    return None


def own_partition(notes, names):
    """That of a list in an archive, or of the names of shards.

    Args:
        notes: of open_images, at its end.
    """
    parts = notes['parts']
    for name, text in notes['lists'].items():
        if os.path.basename(name).startswith(PARTITION):
            parts = parse_partition(text, name)
    parts = look_up(parts, names)
    return parts if parts and None not in parts else None


def look_up(table, names):
    """The value of each name, None where there is none: by the whole name, else its last part.

    None in place of all: two images have the same last part, and the table has no more.
    """
    if all(name in table for name in names):
        return [table[name] for name in names]
    bases = [name.rsplit('/', 1)[-1] for name in names]
    if len(set(bases)) < len(bases):
        return None
    return [table.get(name) for name in bases]


def lists_inside(source):
    """(where, text) of the lists of attributes in an archive."""
    if source.kind not in ('zip', 'tar'):
        return []
    images, notes = open_images(source)
    if source.kind == 'tar':
        deque(images, maxlen=0)                         # they may stand at its end
    return sorted((f'{name} in {source.root}', text) for name, text in notes['lists'].items()
                  if os.path.basename(name).startswith(ATTRIBUTES))


def lists_near(root, word):
    """(path, text) of the lists inside a folder, beside it and one level up, the nearest first."""
    root = Path(os.path.abspath(root))
    for place in (root, *root.parents[:2]):
        for folder in FOLDERS:
            for suffix in LIST_SUFFIXES:
                for path in sorted((place / folder).glob(f'{word}*{suffix}')):
                    yield path, path.read_text(encoding='utf-8', errors='surrogateescape')


def parse_attributes(text, place):
    """(attributes, {image: a byte for each, 1 or 0}) of a list as CelebA's or Kaggle's."""
    return parse(text, place, 2, SIGNS,
                 'is not laid out as list_attr_celeba: in the .txt a count and a line of names, in '
                 'the .csv a line of names, then on every line the name of an image and a 1 or -1 '
                 '(or 0) for each attribute')


def parse_partition(text, place):
    """{image: 0, 1 or 2} of a list as CelebA's or Kaggle's."""
    _, parts = parse(text, place, 0, PARTS,
                     'is not laid out as list_eval_partition: the name of an image, and 0, 1 or 2')
    return {name: part for name, (part,) in parts.items()}


def parse(text, place, n_heads, values, layout):
    """(names of the columns, {image: its values as bytes}) of a list.

    Args:
        n_heads: the lines before the first image in a .txt, the last of which names the columns;
            a .csv has one, and that names the images' own column too.
        values: {word: its value}.
        layout: the end of a sentence on a line that is none.
    """
    every_line = text.removeprefix('\ufeff').splitlines()
    lines = ((number, line) for number, line in enumerate(every_line, 1) if line.strip())
    is_csv = ',' in next((line for line in every_line if line.strip()), '')
    n_heads = 1 if is_csv else n_heads
    heads = [line for _, line in itertools.islice(lines, n_heads)]
    if len(heads) < n_heads:
        raise UserError(f'{place} {layout}')
    columns = ['']
    if is_csv:
        columns = heads[0].split(',')[1:]
    elif n_heads:
        columns = heads[-1].split()
    found = {}
    for number, line in lines:
        words = next(csv.reader([line])) if is_csv else line.rsplit(None, len(columns))
        name, *words = (word.strip() for word in words)
        row = [values.get(word.lower()) for word in words]
        # The name in a .txt may hold blanks, but a value at its end is one too many
        has_more = not is_csv and ' ' in name and name.split()[-1] in values
        if len(row) != len(columns) or None in row or has_more:
            raise UserError(f'{place}, line {number}, {layout}')
        found[name] = bytes(row)
    return [column.strip() for column in columns], found


def parquet_attributes(source):
    """(attributes, {image: a byte for each}) of the columns of shards that hold 1, 0 or -1."""
    columns, n_rows = {}, 0
    for _, batch in parquet_batches(source):
        for name, column in zip(batch.schema.names, batch.columns):
            values = column.to_numpy(zero_copy_only=False)
            if values.dtype.kind in 'biu' and np.isin(values, (-1, 0, 1)).all():
                columns.setdefault(name, []).append(values == 1)
        n_rows += batch.num_rows
    columns = {name: np.concatenate(parts).tolist() for name, parts in columns.items()}
    columns = {name: has for name, has in columns.items() if len(has) == n_rows}
    names, _ = parquet_names(source)
    return list(columns), dict(zip(names, map(bytes, zip(*columns.values()))))
