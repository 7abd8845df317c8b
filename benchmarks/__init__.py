"""Benchmarks of the delivery engine: `python -m benchmarks [name ...]`; the figures go to `RESULTS.md`.

`servers` starts what is measured, `streams` and `writers` are the load (in processes of their own), `scenarios` says
what is measured and checks that nothing was lost, `results` keeps the figures and writes the report.
"""
