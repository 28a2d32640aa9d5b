"""Programs of groups of data that share something, such as pairs of images with common factors."""
