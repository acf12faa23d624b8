"""Neural networks as torch modules: they import torch, torchaudio, torchvision and each other.

A network knows nothing of files, manifests or numpy, so that it can be read beside its paper and
tested with nothing but tensors.
"""
