"""Training and measuring of the image and video detectors."""
