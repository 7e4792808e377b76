"""The settings at the top of main.py: read from its own lines, checked, given as options.

A setting is a line `name = value   # what it is` there, whose value is a number, a word, a bool, a
tuple of these or None. The comment is its help, and may go on in lines of its own, indented; the
type of its value is that of its option.
"""
import argparse
import difflib
import math
import re
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from dldemos.VAE.support.errors import UserError

ABOVE_0, BELOW_1 = math.nextafter(0, 1), math.nextafter(1, 0)
LIMITS = {                     # type, least and greatest value; of others the type of their value
    'n_epochs': (int, 1, math.inf), 'kl_weight': (float, 0, math.inf), 'lr': (float, ABOVE_0, 1),
    'batch_size': (int, 1, math.inf), 'adam_betas': (float, 0, BELOW_1), 'warm_up': (float, 0, 1),
    'hiddens': (int, 1, 2**16), 'latent_dim': (int, 1, 2**16), 'image_size': (int, 1, 2**12),
    'crop': (int, 1, math.inf), 'n_images': (int, 1, math.inf), 'held_out': (float, 0, 0.9),
    'n_samples': (int, 1, 10**6), 'temperature': (float, 0, math.inf), 'seed': (int, 0, 2**63 - 1),
    'mirror': (bool, 0, 1), 'compile': (bool, 0, 1), 'resume': (bool, 0, 1),
}
WORDS = {                      # that a setting may be, instead of a number or alone
    'kl_weight': ('auto',), 'crop': ('auto', 'face'), 'optimizer': ('adam', 'muon'),
    'lr_schedule': ('linear', 'constant'), 'prior': ('auto', 'normal', 'gaussian', 'flow'),
}
SEVERAL = {'hiddens': '16,32,64', 'adam_betas': '0.9,0.999'}        # numbers, as in these
NEVER_NONE = {*LIMITS, *WORDS, 'work_dir', 'device', 'ckpt_path', 'recipe'} - {'n_images'}
MAY_BE_NONE = {'init', 'data_root', 'n_images', 'cache_dir', 'attribute', 'save_images', 'code',
               'run_path'}
KNOWN = NEVER_NONE | MAY_BE_NONE                                    # others a reader has added
PLAIN = (int, float, str, tuple, list, type(None))
LINE = re.compile(r"""^([a-z]\w*)\ *(?::[^=\n]*)?=(?!=)           # a name, and its type, if any
                      (?:'[^'\n]*'|"[^"\n]*"|[^#'"\n])*           # its value
                      (?:\#\ *(.*(?:\n\ +\#.*)*))?$               # its comment
                      """, re.MULTILINE | re.VERBOSE)


def read_settings(path, values):
    """{name: comment} of the settings of a Python file, whose names have these `values`.

    They stand before its first function. What is added there and is no plain value is no setting.
    """
    top = re.split(r'^(?:def|class|@)', Path(path).read_text(encoding='utf-8'), flags=re.M)[0]
    return {name: re.sub(r'\n +# *', ' ', comment.strip()) for name, comment in LINE.findall(top)
            if name in KNOWN or isinstance(values.get(name), PLAIN)}


def current_settings(path, values, changes=None):
    """The settings of a file as they stand in `values`, with changes, checked: a namespace.

    Raises:
        TypeError: a change of a name that is no setting.
        UserError: a value of a wrong type or range.
    """
    names, changes = read_settings(path, values), changes or {}
    for change in changes:
        if change not in names:
            raise TypeError(f'there is no setting {change}{similar(change, names)}')
    return argparse.Namespace(**{option: checked_value(
        option, changes.get(option, values[option]), values[option]) for option in names})


def checked_value(option, value, default):
    """The value that is meant by one at the top of main.py, in a recipe, or by an option's text.

    Args:
        default: a setting that a reader has added has the type of this one.

    Raises:
        UserError: says what it must be.
    """
    if value is None:
        if option in NEVER_NONE:
            raise UserError(f'{option} must not be None')
        return None
    text, words = as_text(value), WORDS.get(option, ())
    kind, least, most = LIMITS.get(option, (str, None, None))
    several = option in SEVERAL
    if option not in KNOWN:
        several = isinstance(default, (tuple, list))
        kind = type(default[0] if several and default else default)
        least, most = -math.inf, math.inf
    if text in words:
        return text
    if kind is bool:
        if text not in ('True', 'False'):
            raise UserError(f'{option} must be True or False, not {text!r}')
        return text == 'True'
    if kind not in (int, float):
        if words:
            raise UserError(f'{option} must be one of {", ".join(words)}, not {text!r}')
        if not text.strip():
            raise UserError(f'{option} must not be empty')
        return tuple(text.split(',')) if several else text
    parts = text.strip('()[] ').rstrip(',').split(',') if several else [text]
    try:
        numbers = tuple(map(kind, parts))
    except ValueError:
        numbers = ()
    n_wanted = 2 if option == 'adam_betas' else len(parts)
    if len(numbers) == n_wanted and all(least <= x <= most and abs(x) < math.inf for x in numbers):
        return numbers if several else numbers[0]
    raise UserError(f'{option} must be {kind_of_number(option, kind, least, most, several)}, not '
                    f'{text!r}')


def kind_of_number(option, kind, least, most, several):
    """'a whole number of at least 1, or one of auto, face'"""
    text = 'whole number' if kind is int else 'number'
    text = f'{text}s' if several else f'a {text}'
    if option == 'adam_betas':
        text = f'2 {text}'
    if least > -math.inf:
        text += ' above 0' if least == ABOVE_0 else f' of at least {least}'
    if most < math.inf:
        text += ' and below 1' if most == BELOW_1 else f' and at most {most}'
    if option in SEVERAL:
        text += f', as in {SEVERAL[option]}'
    if option in WORDS:
        text += f', or one of {", ".join(WORDS[option])}'
    return text


@contextmanager
def in_force(values, settings):
    """Settings as the values of their names in a module, as long as the block runs."""
    before = {option: values[option] for option in vars(settings)}
    values.update(vars(settings))
    try:
        yield
    finally:
        values.update(before)


class Parser(argparse.ArgumentParser):
    """argparse that reports a mistake in one sentence, as a UserError."""

    def error(self, message):
        raise UserError(f'{message.removeprefix("argument --")}; --help lists what there is')

    def add_setting(self, option, default, text):
        """Add the option of a setting."""
        shown = '' if default is None else f' (default: {as_text(default)})'
        how = {'help': (text + shown).replace('%', '%%'), 'default': argparse.SUPPRESS}
        if isinstance(default, bool):
            how['action'] = argparse.BooleanOptionalAction
        else:
            how['type'] = partial(checked_value, option, default=default)
            how['metavar'] = 'VALUE'
        self.add_argument(f'--{option}', **how)

    def parse(self, argv):
        """Options and positional arguments in any order; an unknown option is a UserError."""
        values, unknown = self.parse_known_intermixed_args(argv)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            raise UserError(f'there is no option {unknown[0]}'
                            f'{similar(unknown[0].partition("=")[0], options)}; --help lists '
                            f'them all')
        return values


def as_text(value):
    return ','.join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def similar(word, words):
    close = difflib.get_close_matches(str(word), words, n=1)
    return f' (did you mean {close[0]}?)' if close else ''
