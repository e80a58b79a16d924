"""Settings of the whole suite."""

from hypothesis import HealthCheck, settings

# A deadline measures the machine, and two shared cores are slow now and then.
_COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("default", _COMMON)
settings.register_profile("long", _COMMON, max_examples=20_000)
settings.load_profile("default")
