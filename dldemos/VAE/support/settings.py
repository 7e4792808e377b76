"""The settings at the top of main.py: read from its own lines, checked, given as options.

A setting is a line `name = value   # what it is` there, whose value is a number, a word, a bool, a
tuple of these or None. The comment is its help, the type of its value that of its option.
"""
import argparse
import difflib
import math
import re
from contextlib import contextmanager
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
NAMES = ('work_dir', 'device', 'ckpt_path', 'recipe')              # words of any kind
SEVERAL = ('hiddens', 'adam_betas')
NEVER_NONE = {*LIMITS, *WORDS, *NAMES} - {'n_images'}
MAY_BE_NONE = {'init', 'data_root', 'n_images', 'cache_dir', 'attribute', 'save_images', 'code',
               'run_path'}
PLAIN = (bool, int, float, str, tuple, list, type(None))
LINE = re.compile(r"""^([a-z]\w*)\ *(?::[^=\n]*)?=(?!=)           # a name, and its type, if any
                      (?:'[^'\n]*'|"[^"\n]*"|[^#'"\n])*(?:\#\ *(.*))?$   # its value, and a comment
                      """, re.MULTILINE | re.VERBOSE)


def read_settings(path, values):
    """{name: comment} of the settings of a Python file, whose names have these `values`.

    They stand before its first function, each on a line of its own. What is added there and is no
    plain value is no setting.
    """
    top = re.split(r'^(?:def|class|@)', Path(path).read_text(encoding='utf-8'), flags=re.M)[0]
    return {name: comment.strip() for name, comment in LINE.findall(top)
            if name in NEVER_NONE | MAY_BE_NONE or isinstance(values.get(name), PLAIN)}


def checked(option, text, default):
    """The value that a text means for a setting; `default` has the type of one added by a reader.

    Raises:
        ValueError: says what it must be.
    """
    words = WORDS.get(option, ())
    if text in words:
        return text
    several = option in SEVERAL or option not in LIMITS and isinstance(default, (tuple, list))
    like = default[0] if isinstance(default, (tuple, list)) and default else default
    kind, least, most = LIMITS.get(option, (type(like), -math.inf, math.inf))
    if option in NEVER_NONE | MAY_BE_NONE and option not in LIMITS:
        kind = str
    if kind is bool:
        if text not in ('True', 'False'):
            raise ValueError('must be True or False')
        return text == 'True'
    if kind not in (int, float):
        if words:
            raise ValueError(f'must be one of {", ".join(words)}')
        if not text.strip():
            raise ValueError('must not be empty')
        return tuple(text.split(',')) if several else text
    parts = text.strip('()[] ').rstrip(',').split(',') if several else [text]
    try:
        values = tuple(kind(part) for part in parts)
    except ValueError:
        values = ()
    n_wanted = 2 if option == 'adam_betas' else len(values)
    if not values or len(values) != n_wanted or not all(least <= v <= most for v in values) or (
            math.inf in map(abs, values)):
        raise ValueError(what_it_must_be(option, kind, several, least, most))
    return values if several else values[0]


def what_it_must_be(option, kind, several, least, most):
    """'must be a whole number of at least 1, or one of auto, face'"""
    what = {int: 'whole number', float: 'number'}[kind]
    if several:
        what = '2 numbers' if option == 'adam_betas' else f'{what}s'
    text = f'must be {what}' if several else f'must be a {what}'
    if least == ABOVE_0:
        text += ' above 0'
    elif least > -math.inf:
        text += f' of at least {least}'
    if most < math.inf:
        text += f'{" and" if least > -math.inf else " of"} at most {most}'
    if several:
        text += ', as in 16,32,64' if kind is int else ', as in 0.9,0.999'
    words = WORDS.get(option)
    return f'{text}, or one of {", ".join(words)}' if words else text


def current_settings(path, values, changes=None):
    """The settings of a file as they stand in `values`, with changes, checked: a namespace.

    Raises:
        TypeError: a change of a name that is no setting.
        UserError: a value of a wrong type or range.
    """
    names = read_settings(path, values)
    for change in changes or {}:
        if change not in names:
            raise TypeError(f'there is no setting {change}{similar(change, names)}')
    return argparse.Namespace(**{option: checked_value(option, (changes or {}).get(
        option, values[option]), values[option]) for option in names})


def checked_value(option, value, default):
    """The value of a setting, from a recipe or the top of main.py, after its check."""
    if value is None:
        if option in NEVER_NONE:
            raise UserError(f'{option} must not be None')
        return None
    try:
        return checked(option, as_text(value), default)
    except ValueError as error:
        raise UserError(f'{option} {error}, not {as_text(value)!r}') from None


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
        option, _, rest = message.removeprefix('argument ').partition(': ')
        if rest.startswith('must '):                       # of a check: say it as a sentence
            message = f'{option.removeprefix("--")} {rest}'
        raise UserError(f'{message}; --help lists what there is')

    def add_setting(self, option, default, text):
        """Add the option of a setting."""
        shown = '' if default is None else f' (default: {as_text(default)})'
        how = {'help': (text + shown).replace('%', '%%'), 'default': argparse.SUPPRESS}
        if isinstance(default, bool):
            self.add_argument(f'--{option}', action=argparse.BooleanOptionalAction, **how)
            return

        def value(text):
            try:
                return checked(option, text, default)
            except ValueError as error:
                raise argparse.ArgumentTypeError(f'{error}, not {text!r}') from None
        self.add_argument(f'--{option}', type=value, metavar='VALUE', **how)

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
