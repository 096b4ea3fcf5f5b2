"""The bytes of a file, and what they hold before anything is made of it."""
