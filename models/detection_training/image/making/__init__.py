"""Pictures, real and remade: photographs, decoders, treatments."""
