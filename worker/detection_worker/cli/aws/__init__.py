"""AWS on the command line: credentials, and the policy that a worker needs."""
