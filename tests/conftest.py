"""Settings of the whole suite."""

import signal

from hypothesis import HealthCheck, settings

# A deadline measures the machine, and two shared cores are slow now and then.
_COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("default", _COMMON)
settings.register_profile("long", _COMMON, max_examples=20_000)
settings.load_profile("default")

# A background job of a shell ignores SIGINT, and so does what it starts; tests interrupt programs.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
