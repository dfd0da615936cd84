"""The transformer in torch: parameters, fused operations, the network, cached generation."""
