"""Mistakes of the user's: one sentence and exit status 2, never a traceback."""
import errno
import sys

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


class UserError(Exception):
    """Says in one sentence what is wrong and what to do about it."""


def exit_status(main):
    """Run main() and return the exit status: 0 done, 2 a user's mistake, 130 Ctrl-C."""
    try:
        main()
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        print(f'error: {error}: make room or choose a place that can be written to, '
              f'then start again; what was complete before is still there', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('stopped', file=sys.stderr)
        return 130
    return 0
