"""What a signed-in request costs: ours and its peers, beside the bare app. Run `uv run --group bench python -m benchmarks`."""
