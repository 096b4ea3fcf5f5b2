"""Keras' own: its files, its words in every version, its graphs of layers, and the layers as PyTorch modules."""
