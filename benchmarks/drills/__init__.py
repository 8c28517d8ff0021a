"""Bad days rehearsed with real processes, one drill each. `benchmarks/rehearse.py` runs them."""
