"""How files are read and written, whatever is in them: whole or not at all, within limits, and names made safe."""
