"""What all tests need: signals as a terminal has them."""

from __future__ import annotations

import signal

# Who starts the tests in the background may have them ignored, and every process below would inherit that: no Ctrl-C would arrive.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
