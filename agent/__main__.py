"""Start the program. Python 2.7 must be able to read this file, or it would answer with a syntax error."""

import sys


def main():
    # type: () -> int
    if sys.version_info < (3, 8):
        sys.stderr.write(
            "pnmcheck needs Python 3.8 or newer and this is Python %d.%d: "
            "install a newer one and start pnmcheck with that.\n" % sys.version_info[:2]
        )
        return 2
    from .cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
