"""Grafana dashboards of the chart, made with Grafana's own SDK: Fleet, Queue and Workers."""
