"""What is estimated from observations: arrivals, service times, capacity, feedback."""
