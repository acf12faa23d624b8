"""Training and measuring of the audio detector."""
