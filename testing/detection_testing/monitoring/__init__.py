"""Made-up histories of queues and workers in a real Prometheus, to try dashboards with."""
