"""Small transformers and pretrained ones that policies and reward models stand on."""
