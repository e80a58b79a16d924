"""Benchmarks of the engine and of what lies next to it: workloads, and commands that time them."""
