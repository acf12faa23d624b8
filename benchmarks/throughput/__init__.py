"""Parts of ``worker_throughput.py``: loads, contenders in processes of their own, measuring."""
