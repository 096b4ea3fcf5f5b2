"""What runs on the GPU, in Triton's Python; who launches it, and how, is beside this folder."""
