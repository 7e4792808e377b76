"""CelebA's lists, found and read in every layout: attributes of images, and its partition."""
import csv
import glob
import itertools
import os
from pathlib import Path

from dldemos.VAE.images.sources import (
    LIST_SUFFIXES,
    find_source,
    is_list,
    open_images,
    open_parquet,
    parquet_names,
)
from dldemos.VAE.support.errors import UserError

ATTRIBUTES, PARTITION = 'list_attr', 'list_eval_partition'
FOLDERS = ('', 'Anno', 'Eval')             # the lists' own, on CelebA's page
SIGNS = {'1': True, 'true': True, '-1': False, '0': False, 'false': False}


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
    for name, text in lists_inside(source, ATTRIBUTES):
        return f'{name} in {root}', *parse_attributes(text, f'{root}, {name}')
    for path in list_files(root, ATTRIBUTES):
        return path, *parse_attributes(read_text(path), path)
    columns = ', nor a column of an attribute' if source.kind == 'parquet' else ''
    raise NoList(f'there is no list_attr_celeba.txt (or .csv) in {root} or beside it{columns}: '
                 f'data/README.md says where to get it')


def partition(root, names, recorded=None):
    """CelebA's partition of images: 0 (training), 1 (validation) or 2 (test) of each.

    Args:
        recorded: that which the cache has of an archive's own list or of shards' names.

    Returns:
        A list of int; None: there is no such list, or it is not of these images.
    """
    if recorded:
        return [int(part) for part in recorded]
    root = Path(root)
    if not root.exists():                               # only its cache is here
        return None
    for path in list_files(root, PARTITION):
        parts = parse_partition(read_text(path), path)
        found = look_up(parts, names)
        if found is not None and None not in found:
            return found
    return None


def recorded_partition(notes, names):
    """What a cache keeps of the partition: a digit for each image; '' where there is none.

    Args:
        notes: of open_images, at its end.
    """
    parts = notes['parts']
    for name, text in notes['lists'].items():
        if os.path.basename(name).startswith(PARTITION):
            parts = parse_partition(text, name)
    found = look_up(parts, names) if parts else None
    return '' if found is None or None in found else ''.join(map(str, found))


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


def lists_inside(source, word):
    """(name, text) of the lists in an archive."""
    if source.kind not in ('zip', 'tar'):
        return []
    images, notes = open_images(source)
    if source.kind == 'tar':
        for _ in images:                                # they may stand at its end
            pass
    return sorted((name, text) for name, text in notes['lists'].items()
                  if os.path.basename(name).startswith(word))


def list_files(root, word):
    """Lists inside a folder, beside it and one level up, as paths, the nearest first."""
    root = Path(os.path.abspath(root))
    places = dict.fromkeys([*([root] if root.is_dir() else []), root.parent, root.parent.parent])
    found = [Path(path) for place in places for folder in FOLDERS for suffix in LIST_SUFFIXES
             for path in sorted(glob.glob(glob.escape(str(place / folder)) + f'/{word}*{suffix}'))]
    return [path for path in found if is_list(path.name)]


def read_text(path):
    return path.read_text(encoding='utf-8', errors='surrogateescape')


def rows_of(text):
    """An iterator of (line number, words) of the lines that are not blank, and whether it is a
    csv, or else has CelebA's columns."""
    lines = text.removeprefix('\ufeff').splitlines()
    comma = ',' in next((line for line in lines if line.strip()), '')
    split = (next(csv.reader([line]), []) if comma else line.split() for line in lines)
    return ((number, [word.strip() for word in words])
            for number, words in enumerate(split, 1) if any(map(str.strip, words))), comma


def parse_attributes(text, place):
    """(attributes, {file name: a byte for each, 1 or 0}) of a list as CelebA's or Kaggle's."""
    rows, comma = rows_of(text)
    layout = ('is not laid out as list_attr_celeba: in the .txt a count and a line of names, in '
              'the .csv a line of names, then on every line the name of an image and a 1 or -1 '
              '(or 0) for each attribute')
    heads = [words for _, words in itertools.islice(rows, 1 if comma else 2)]
    if len(heads) < (1 if comma else 2):
        raise UserError(f'{place} {layout}')
    header = heads[-1][1:] if comma else heads[-1]
    values = {}
    for number, (name, *signs) in rows:
        signs = [SIGNS.get(sign.lower()) for sign in signs]
        if len(signs) != len(header) or None in signs:
            raise UserError(f'{place}, line {number}, {layout}')
        values[name] = bytes(signs)
    return header, values


def parse_partition(text, place):
    """{file name: 0, 1 or 2} of a list laid out as CelebA's or Kaggle's."""
    rows, comma = rows_of(text)
    parts = {}
    for number, words in itertools.islice(rows, 1 if comma else 0, None):
        if len(words) != 2 or words[1] not in ('0', '1', '2'):
            raise UserError(f'{place}, line {number}, is not laid out as list_eval_partition: the '
                            f'name of an image, and 0, 1 or 2')
        parts[words[0]] = int(words[1])
    return parts


def parquet_attributes(source):
    """(attributes, {image: a byte for each}) of the columns of shards that hold 1, 0 or -1."""
    columns, names = {}, []
    for (shard, _, _), its_names in zip(source.files, parquet_names(source)):
        file = open_parquet(source.folder / shard)
        known = [field.name for field in file.schema_arrow
                 if str(field.type).startswith(('bool', 'int', 'uint'))]
        table = file.read(columns=known).to_pydict()
        for name in known if not names else set(columns):
            signs = [SIGNS.get(str(value).lower()) for value in table.get(name, [None])]
            if None in signs:                          # no attribute: an identity, say
                columns.pop(name, None)
            else:
                columns.setdefault(name, []).extend(signs)
        names += its_names
    return list(columns), dict(zip(names, map(bytes, zip(*columns.values()))))
