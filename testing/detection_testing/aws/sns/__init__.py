"""Amazon SNS: topics, subscriptions of queues, and what was published."""
