"""Pictures of the dashboards: Grafana's widgets in a browser, values of a real Prometheus."""
