"""One run: a network, its data, its recipe, trained to the end of its budget and recorded."""
