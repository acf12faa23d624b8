"""STS and the credentials that the local services accept."""
