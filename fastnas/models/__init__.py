"""Networks: genotypes, operations, encoders, decoders, and the files that hold trained ones."""
