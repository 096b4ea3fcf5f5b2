"""The program: answers signals from its first moment on, and then finds the command line."""

from __future__ import annotations

from lstmreg import signals


def run() -> None:
    """Run the command line, and end with its exit code."""
    signals.answer_signals()
    try:
        from lstmreg.cli import main

        code = main()
    except (KeyboardInterrupt, signals.Terminated):  # before it could answer itself
        code = signals.exit_code() or 130
    signals.exit_now(code)


if __name__ == "__main__":
    run()
