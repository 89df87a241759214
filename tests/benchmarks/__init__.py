"""What recorder costs, as ratios of figures measured in one run: `python -m tests.benchmarks [NAME ...]`."""
