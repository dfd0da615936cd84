"""A page on skills in theory: curves, simulation, learning as decoding, novelty, design."""
