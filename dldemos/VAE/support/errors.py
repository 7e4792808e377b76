"""Mistakes of the user's: one sentence and exit status 2, never a traceback."""
import errno
import os
import sys

from dldemos.VAE.support.files import printable

WHAT_TO_DO = {
    errno.ENOSPC: 'make room', errno.EDQUOT: 'make room',
    errno.EACCES: 'you may not read or write there: change its permissions, or choose another '
                  'place',
    errno.EPERM: 'you may not read or write there: change its permissions, or choose another '
                 'place',
    errno.EROFS: 'choose a place that can be written to',
    errno.EEXIST: 'a file has the name of a folder that is needed: rename it',
    errno.ENOTDIR: 'a file has the name of a folder that is needed: rename it',
    errno.EISDIR: 'a folder has the name of a file that is needed: choose another name',
    errno.ENOENT: 'it may just have been removed: see whether its folder is still there',
    errno.ENAMETOOLONG: 'choose a shorter name',
    errno.EIO: 'the disk or the connection to it fails: copy the files to another place',
}


class UserError(Exception):
    """Says in one sentence what is wrong and what to do about it."""


def exit_status(main):
    """Run main() and return the exit status: 0 done, 2 a user's mistake, 130 Ctrl-C.

    A name that the terminal cannot print is printed with escapes.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):         # a notebook's streams print anything
            stream.reconfigure(errors='backslashreplace')
    try:
        main()
        if sys.stdout is not None:                 # it was closed before the start
            sys.stdout.flush()
    except UserError as error:
        print(f'error: {printable(error)}', file=sys.stderr)
        return 2
    except BrokenPipeError:                        # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in WHAT_TO_DO:
            raise
        print(f'error: {printable(error)}: {WHAT_TO_DO[error.errno]}, then start again; what was '
              f'complete before is still there', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('stopped', file=sys.stderr)
        return 130
    return 0
