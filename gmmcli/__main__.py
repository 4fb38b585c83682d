"""`python -m gmmcli`, `torchrun -m gmmcli` and `gmm` itself: starts so that Ctrl-C is silent from the first."""

import signal
import sys

INTERRUPTED = 130  # as in cli/app.py, which is not to be imported yet


def run() -> int:
    """Runs `gmm` with the process's arguments and returns the exit code.

    Until the command line is imported nothing could catch a KeyboardInterrupt, so that an interrupt ends the
    process at once, as it does when all is done. One that is ignored, as in a shell's background, remains so.
    """
    ignored = signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    try:
        if not ignored:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        from gmmcli.cli.app import main

        if not ignored:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = main()
        if not ignored:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        return code
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(run())
