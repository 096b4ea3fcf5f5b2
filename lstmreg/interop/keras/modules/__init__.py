"""Keras' layers as PyTorch modules."""
