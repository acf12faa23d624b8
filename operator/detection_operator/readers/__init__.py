"""Where observations come from: SQS and the workers' control servers."""
