"""What a model is: layers, and which feeds which; read from descriptions and written as such."""
