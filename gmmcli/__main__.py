"""Start of `python -m gmmcli`, `torchrun -m gmmcli` and `gmm`. Ctrl-C is silent from the first moment."""

import signal
import sys

INTERRUPTED = 130  # as in cli/app.py, which is imported later


def run() -> int:
    """Runs `gmm` with the process's arguments and returns the exit code.

    Nothing could catch a KeyboardInterrupt before the command line is imported, or after its end: then an interrupt
    ends the process at once. An interrupt that is ignored, as in a shell's background, remains so.
    """
    inside = signal.getsignal(signal.SIGINT)
    outside = signal.SIG_DFL if inside is signal.default_int_handler else inside
    try:
        signal.signal(signal.SIGINT, outside)
        from gmmcli.cli.app import main

        signal.signal(signal.SIGINT, inside)
        code = main()
        signal.signal(signal.SIGINT, outside)
        return code
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(run())
