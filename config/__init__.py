"""Configuration files shipped with the product, and how its kernels are compiled."""
