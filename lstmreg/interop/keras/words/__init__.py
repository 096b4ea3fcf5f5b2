"""What each version of Keras calls things and means by them, in one vocabulary."""
