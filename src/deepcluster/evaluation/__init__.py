"""Numbers that tell how good features are: a linear probe and nearest neighbours, on tensors."""
