"""Layers as directories, stacked by overlayfs inside each container's own mount namespace."""
