"""Where data come from: a file for each form, and the door that tells them apart."""
